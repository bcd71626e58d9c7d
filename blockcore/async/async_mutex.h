// A lock between coroutines of one engine (one thread): first come, first served, held across
// co_await. AsyncMutex::Guard guard = co_await mutex.lock();
#pragma once

#include <coroutine>
#include <deque>
#include <utility>

#include "base/check.h"

namespace hull::blockcore {

class AsyncMutex {
 public:
  class [[nodiscard]] Guard {
   public:
    Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
    Guard& operator=(Guard&&) = delete;
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() { unlock(); }
    void unlock() {
      if (mutex_ != nullptr) std::exchange(mutex_, nullptr)->unlock();
    }

   private:
    friend class AsyncMutex;
    explicit Guard(AsyncMutex& mutex) : mutex_(&mutex) {}
    AsyncMutex* mutex_;
  };

  AsyncMutex() = default;
  AsyncMutex(const AsyncMutex&) = delete;
  AsyncMutex& operator=(const AsyncMutex&) = delete;
  ~AsyncMutex() { CHECK(!locked_ && waiting_.empty()); }

  auto lock() { return Awaiter{*this}; }
  bool locked() const { return locked_; }

 private:
  struct Awaiter {
    AsyncMutex& mutex;
    bool await_ready() const noexcept { return !mutex.locked_ && (mutex.locked_ = true); }
    void await_suspend(std::coroutine_handle<> awaiting) const {
      mutex.waiting_.push_back(awaiting);
    }
    Guard await_resume() const noexcept { return Guard(mutex); }
  };

  // Resumes waiters from a loop in the outermost unlock(), so that a long queue costs no stack.
  void unlock() {
    locked_ = false;
    if (resuming_) return;
    resuming_ = true;
    while (!locked_ && !waiting_.empty()) {
      const std::coroutine_handle<> first = waiting_.front();
      waiting_.pop_front();
      locked_ = true;
      first.resume();
    }
    resuming_ = false;
  }

  bool locked_ = false;
  bool resuming_ = false;
  std::deque<std::coroutine_handle<>> waiting_;
};

}  // namespace hull::blockcore
