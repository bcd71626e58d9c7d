// IoEngine over io_uring.
//
// The ring is made disabled and belongs to the first thread that needs it (SINGLE_ISSUER with
// DEFER_TASKRUN, where the kernel knows them); when an idle engine is driven by another thread,
// that thread makes a ring of its own. Watches are multishot polls: edge-triggered, so a kick costs
// no system call beside the one that waits.
#pragma once

#include <liburing.h>

#include "blockcore/io_engine.h"
#include "blockcore/poll_window.h"

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
  void enter() override;
  void run_once(bool deliver_watches) override;
  bool idle() const override { return pending_.empty() && in_flight_ == 0; }

 private:
  struct Watch {
    int fd;
    std::function<void()> readable;  // empty: the wake descriptor
    bool armed = false;
    bool removed = false;  // kept until the kernel has let go of it
    bool signalled = false;
  };

  Result<void> create_ring();
  void destroy_ring();
  void enable_ring();
  io_uring_sqe* next_entry();
  void arm_watches();
  void queue_pending();
  void submit_and_wait(unsigned completions);
  bool reap();
  void serve_clients();
  bool look_for_work();
  void complete(uint64_t user_data, int result, uint32_t flags);
  void on_watch_event(Watch& watch, int result, uint32_t flags);
  bool dispatch_watches();

  io_uring ring_{};
  bool ring_exists_ = false;
  bool ring_enabled_ = false;
  bool multishot_ = true;
  uint64_t owner_ = 0;  // of an enabled ring: number of its thread
  IoOperationList pending_;
  unsigned in_flight_ = 0;
  std::vector<std::unique_ptr<Watch>> watches_;  // the first is the wake descriptor
  bool watches_changed_ = true;                  // something to arm or to forget
  bool watch_signalled_ = false;
  PollWindow poll_window_;
};

}  // namespace hull::blockcore
