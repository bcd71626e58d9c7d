#include "blockcore/nbd/pending_requests.h"

#include <algorithm>

namespace hull::blockcore::nbd {

uint64_t PendingRequests::enter(PendingRequest& request) {
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(slots_.size()));
    slots_.emplace_back();
  }
  const uint32_t index = free_.back();
  free_.pop_back();
  Slot& slot = slots_[index];
  slot.request = &request;
  ++slot.uses;
  ++count_;
  return uint64_t{slot.uses} << 32 | index;
}

PendingRequest* PendingRequests::find(uint64_t cookie) const {
  const auto index = static_cast<uint32_t>(cookie);
  if (index >= slots_.size() || slots_[index].uses != cookie >> 32) return nullptr;
  return slots_[index].request;
}

void PendingRequests::finish(uint64_t cookie) {
  const auto index = static_cast<uint32_t>(cookie);
  PendingRequest& request = *std::exchange(slots_[index].request, nullptr);
  free_.push_back(index);
  --count_;
  request.done = true;
  if (request.waiting) request.waiting.resume();
}

unsigned PendingRequests::grow_older() {
  unsigned oldest = 0;
  for (const Slot& slot : slots_)
    if (slot.request != nullptr) oldest = std::max(oldest, ++slot.request->age);
  return oldest;
}

void PendingRequests::fail_all() {
  for (uint32_t index = 0; index < slots_.size(); ++index) {
    if (slots_[index].request == nullptr) continue;
    slots_[index].request->error = static_cast<uint32_t>(WireError::kIo);
    finish(uint64_t{slots_[index].uses} << 32 | index);
  }
}

}  // namespace hull::blockcore::nbd
