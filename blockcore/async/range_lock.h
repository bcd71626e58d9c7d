// Ranges that operations of one thread have for themselves: of a file's bytes, or of a disk's
// clusters. First come, first served, so that a long range is not kept waiting by short ones.
//
//   const RangeLock::Hold hold(lock, {first, last});
//   while (WaitList* before = hold.before()) co_await before->wait();
//
// Or, for whoever looks again at everything after a wait: find(), and a Hold when it finds nothing.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "blockcore/async/wait_list.h"

namespace hull::blockcore {

class RangeLock {
 public:
  struct Range {
    uint64_t first = 0;
    uint64_t last = 0;  // inclusive
    bool overlaps(const Range& other) const { return first <= other.last && other.first <= last; }
  };

  // Lives in the frame of the operation, which has one at a time.
  class [[nodiscard]] Hold {
   public:
    Hold(RangeLock& lock, Range range) : lock_(lock), range_(range) {
      lock_.holds_.push_back(this);
    }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() {
      std::erase(lock_.holds_, this);
      waiting_.wake_all();
    }
    // Where to wait for somebody who came earlier; nullptr: the range is ours. Look again
    // afterwards.
    WaitList* before() const {
      for (Hold* one : lock_.holds_) {
        if (one == this) return nullptr;
        if (one->range_.overlaps(range_)) return &one->waiting_;
      }
      return nullptr;
    }

   private:
    friend class RangeLock;
    RangeLock& lock_;
    const Range range_;
    WaitList waiting_;
  };

  // Where to wait for one who holds a part of the range; nullptr if nobody does.
  WaitList* find(Range range) {
    for (Hold* one : holds_)
      if (one->range_.overlaps(range)) return &one->waiting_;
    return nullptr;
  }

 private:
  std::vector<Hold*> holds_;  // as they came
};

}  // namespace hull::blockcore
