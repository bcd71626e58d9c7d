// How coroutines of one image wait for each other. One thread; a waiter is resumed from inside
// wake_all() and must look again at what it waited for.
#pragma once

#include <array>
#include <coroutine>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/check.h"

namespace hull::blockcore {

class WaitList {
 public:
  auto wait() {
    struct Awaiter {
      WaitList& list;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> awaiting) { list.waiting_.push_back(awaiting); }
      void await_resume() const noexcept {}
    };
    return Awaiter{*this};
  }
  // The list may be destroyed by whoever is resumed.
  void wake_all() {
    const std::vector<std::coroutine_handle<>> woken = std::exchange(waiting_, {});
    for (const std::coroutine_handle<> one : woken) one.resume();
  }

 private:
  std::vector<std::coroutine_handle<>> waiting_;
};

// Host clusters that an operation has looked up stay what they are while the operation transfers
// data: what is freed meanwhile is reused, and its blocks given back, only after drain(). Whoever
// holds waits for file I/O and nothing else, so that drain() always ends.
class InUse {
 public:
  class [[nodiscard]] Hold {
   public:
    explicit Hold(InUse& in_use) : in_use_(in_use), side_(in_use.side_) { ++in_use.held_[side_]; }
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;
    ~Hold() {
      if (--in_use_.held_[side_] == 0 && side_ != in_use_.side_) in_use_.drained_.wake_all();
    }

   private:
    InUse& in_use_;
    const uint32_t side_;
  };

  // Ends the wait for all holds that began before: while (!drained()) co_await wait(). One drain at
  // a time (the commit lock sees to it).
  void begin_drain() {
    CHECK(held_[1 - side_] == 0);
    side_ = 1 - side_;
  }
  bool drained() const { return held_[1 - side_] == 0; }
  auto wait() { return drained_.wait(); }

 private:
  uint32_t side_ = 0;
  std::array<uint64_t, 2> held_{};
  WaitList drained_;
};

}  // namespace hull::blockcore
