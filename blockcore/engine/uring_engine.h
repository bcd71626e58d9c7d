// IoEngine over io_uring.
//
// When an idle engine is driven by another thread, that thread makes a ring of its own. Watches are
// multishot polls: edge-triggered, so a kick costs no system call beside the one that waits.
#pragma once

#include "blockcore/engine/io_engine.h"
#include "blockcore/engine/poll_window.h"
#include "blockcore/engine/uring_ring.h"

namespace hull::blockcore {

class UringEngine : public IoEngine {
 public:
  // kHost if the kernel or its policy refuses io_uring.
  static Result<std::unique_ptr<IoEngine>> create();
  ~UringEngine() override;
  std::string_view name() const override { return "io_uring"; }
  Result<void> watch(int event_fd, std::function<void()> readable) override;
  void unwatch(int event_fd) override;

 protected:
  explicit UringEngine(EventFd wake);

  void submit(IoOperation& operation) override;
  void take_back(int fd, IoOperationList& taken) override;
  void enter() override;
  void run_once(bool deliver_watches) override;
  bool idle() const override {
    return pending_.empty() && pending_of_sockets_.empty() && in_flight_ + sockets_in_flight_ == 0;
  }

 private:
  struct Watch {
    int fd;
    std::function<void()> readable;  // empty: the wake descriptor
    bool armed = false;
    bool removed = false;  // kept until the kernel has let go of it
    bool signalled = false;
  };

  void refuse_pending(const Error& error);
  io_uring_sqe* next_entry();
  void arm_watches();
  IoOperationList& pending_for(const IoOperation& operation);
  IoOperation* take_only();
  void queue_pending();
  bool queue(IoOperationList& pending);
  void submit_and_wait(unsigned completions);
  bool reap();
  void serve_clients();
  bool look_for_work();
  void complete(uint64_t user_data, int result, uint32_t flags);
  void on_watch_event(Watch& watch, int result, uint32_t flags);
  bool dispatch_watches();

  bool multishot_ = true;
  IoOperationList pending_;
  IoOperationList pending_of_sockets_;
  unsigned in_flight_ = 0;
  unsigned sockets_in_flight_ = 0;
  std::vector<std::unique_ptr<Watch>> watches_;  // the first is the wake descriptor
  bool watches_changed_ = true;                  // something to arm or to forget
  bool watch_signalled_ = false;
  PollWindow poll_window_;
  UringRing ring_;  // ends before the watches that it polls
};

}  // namespace hull::blockcore
