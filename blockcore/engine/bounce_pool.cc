#include "blockcore/engine/bounce_pool.h"

#include <algorithm>
#include <cstdlib>

#include "base/check.h"

namespace hull::blockcore {

BouncePool::~BouncePool() { CHECK(waiting_.empty() && free_.size() == owned_.size()); }

void BouncePool::Free::operator()(void* memory) const { std::free(memory); }

std::byte* BouncePool::find_free() {
  if (!free_.empty()) {
    std::byte* const memory = free_.back();
    free_.pop_back();
    return memory;
  }
  if (owned_.size() == kMaxBuffers) return nullptr;
  auto* const memory =
      static_cast<std::byte*>(std::aligned_alloc(std::max<size_t>(alignment_, 4096), kBufferBytes));
  CHECK(memory != nullptr);
  owned_.emplace_back(memory);
  return memory;
}

// Waiters are resumed from a loop in the outermost call, so that a long queue costs no stack.
void BouncePool::give_back(std::byte* memory) {
  free_.push_back(memory);
  if (resuming_) return;
  resuming_ = true;
  while (!waiting_.empty() && !free_.empty()) {
    Awaiter& first = *waiting_.front();
    waiting_.pop_front();
    first.memory = free_.back();
    free_.pop_back();
    first.waiting.resume();
  }
  resuming_ = false;
}

}  // namespace hull::blockcore
