// Memory for payloads, which all clients of a server share: first come, first served, so that a
// large request is not kept waiting by small ones. Whoever gets nothing is called again. One
// thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>

#include "base/check.h"

namespace hull::blockcore::nbd {

class PayloadBudget {
 public:
  explicit PayloadBudget(uint64_t limit_bytes) : limit_(limit_bytes) {}
  PayloadBudget(const PayloadBudget&) = delete;
  PayloadBudget& operator=(const PayloadBudget&) = delete;

  // At most the limit. False: `owner` has a place in the queue now, and is to try again when
  // take_change() says so, or to leave().
  bool take(const void* owner, uint64_t bytes) {
    CHECK(bytes <= limit_);
    if (bytes == 0) return true;
    const bool first = queue_.empty() || queue_.front() == owner;
    if (first && used_ + bytes <= limit_) {
      used_ += bytes;
      leave(owner);
      return true;
    }
    if (std::ranges::find(queue_, owner) == queue_.end()) queue_.push_back(owner);
    return false;
  }
  void give_back(uint64_t bytes) {
    used_ -= bytes;
    changed_ |= bytes != 0;
  }
  void leave(const void* owner) { changed_ |= std::erase(queue_, owner) != 0; }

  bool someone_waits() const { return !queue_.empty(); }
  bool changed() const { return changed_ && someone_waits(); }
  // Whether those who wait may get something now, since the last call.
  bool take_change() {
    const bool changed_now = changed();
    changed_ = false;
    return changed_now;
  }

 private:
  const uint64_t limit_;
  uint64_t used_ = 0;
  std::deque<const void*> queue_;
  bool changed_ = false;
};

}  // namespace hull::blockcore::nbd
