// Task<T>: a lazy coroutine that runs on the thread which awaits it.
//
// Format code reads like straight-line code: CO_TRY(const uint64_t entry, co_await
// table.load(index)). A Task does nothing until it is awaited, is awaited once, and owns its frame.
// It must not be destroyed while suspended in an I/O operation (the engine CHECKs that it is idle
// when it dies). Parameters live in the frame only if they are values: pass spans and references to
// things that outlive the await. g++ 12 miscompiles initializer lists and some temporaries inside a
// co_await expression: give them a name first.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/result.h"

namespace hull::blockcore {

template <class T>
class [[nodiscard]] Task;

// Whoever counts operations that others wait for is told when one of them has ended, before those
// who wait for it go on.
class TaskCounter {
 public:
  virtual void task_has_ended() = 0;

 protected:
  ~TaskCounter() = default;
};

namespace internal {

struct FinalAwaiter {
  bool await_ready() const noexcept { return false; }
  template <class Promise>
  std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> finished) const noexcept {
    return finished.promise().end();
  }
  void await_resume() const noexcept {}
};

struct PromiseBase {
  PromiseBase() = default;
  PromiseBase(const PromiseBase&) = delete;
  PromiseBase& operator=(const PromiseBase&) = delete;
  ~PromiseBase() { end_count(); }  // of a task that never began

  std::coroutine_handle<> end() {
    const std::coroutine_handle<> next = continuation;
    end_count();
    return next;
  }
  void end_count() {
    if (counter != nullptr) std::exchange(counter, nullptr)->task_has_ended();
  }

  std::coroutine_handle<> continuation = std::noop_coroutine();
  TaskCounter* counter = nullptr;
  std::suspend_always initial_suspend() const noexcept { return {}; }
  FinalAwaiter final_suspend() const noexcept { return {}; }
  [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object();
  void return_value(T result) { value.emplace(std::move(result)); }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() const noexcept {}
};

}  // namespace internal

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = internal::Promise<T>;

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&&) = delete;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() {
    if (handle_) handle_.destroy();
  }

  // Before it begins, and once: the counter outlives the task's end.
  void count_in(TaskCounter& counter) {
    CHECK(handle_.promise().counter == nullptr);
    handle_.promise().counter = &counter;
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) noexcept {
    handle_.promise().continuation = awaiting;
    return handle_;
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return *std::move(handle_.promise().value);
  }

 private:
  friend internal::Promise<T>;
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

namespace internal {

template <class T>
Task<T> Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise>::from_promise(*this));
}

// A coroutine that starts at once, belongs to nobody and frees itself when it ends.
struct Detached {
  struct promise_type {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
    void return_void() const noexcept {}
  };
};

}  // namespace internal

// Starts `task` now and lets it finish by itself; whoever needs to know keeps count inside it.
inline void start_detached(Task<void> task) {
  [](Task<void> owned) -> internal::Detached { co_await owned; }(std::move(task));
}

}  // namespace hull::blockcore
