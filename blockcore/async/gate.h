// How an operation on an image, or a disk, as a whole has it for itself while requests are served:
// each request holds a pass or is counted, and the gate closes for as long as a step of the
// operation takes. One thread.
#pragma once

#include <cstdint>
#include <utility>

#include "base/check.h"
#include "blockcore/async/task.h"
#include "blockcore/async/wait_list.h"

namespace hull::blockcore {

class Gate : private TaskCounter {
 public:
  // Lives in the frame of a request, which takes it while the gate is open and waits for no other
  // request that has none yet.
  class [[nodiscard]] Pass {
   public:
    explicit Pass(Gate& gate) : gate_(gate) {
      CHECK(!gate.closed_);
      ++gate.inside_;
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    ~Pass() { gate_.leave(); }

   private:
    Gate& gate_;
  };

  // Opens the gate when it dies; requests that waited begin in its destructor.
  class [[nodiscard]] Closed {
   public:
    explicit Closed(Gate& gate) : gate_(&gate) {}
    Closed(Closed&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Closed& operator=(Closed&&) = delete;
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;
    ~Closed() {
      if (gate_ == nullptr) return;
      gate_->closed_ = false;
      gate_->opened_.wake_all();
    }

   private:
    Gate* gate_;
  };

  // Lets a request in, while the gate is open, that has no frame of its own for a pass: it is
  // inside from now on, so whoever has it awaits it and waits for nothing else first.
  template <class T>
  Task<T> count(Task<T> request) {
    CHECK(!closed_);
    ++inside_;
    request.count_in(*this);
    return request;
  }

  bool is_open() const { return !closed_; }
  // Until the gate opens the next time.
  auto wait() { return opened_.wait(); }

  // New requests wait, and those that are inside have ended when it returns. One at a time: the
  // owner sees to it.
  Task<Closed> close() {
    CHECK(!closed_);
    closed_ = true;
    while (inside_ != 0) co_await left_.wait();
    co_return Closed(*this);
  }

 private:
  void leave() {
    if (--inside_ == 0 && closed_) left_.wake_all();
  }
  void task_has_ended() override { leave(); }

  bool closed_ = false;
  uint64_t inside_ = 0;
  WaitList opened_;
  WaitList left_;
};

}  // namespace hull::blockcore
