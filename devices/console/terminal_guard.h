// The user's terminal in raw mode, and back again on every way out.
//
// Restored by the destructor, by exit(3), and by the signals that kill the process and that nobody
// else handles (faults, SIGABRT, SIGSYS, SIGTERM, SIGINT, SIGHUP, SIGQUIT). Code that leaves by
// _exit(2) calls restore() first. Nothing helps against SIGKILL.
#pragma once

#include "base/event_fd.h"
#include "base/result.h"

namespace hull::devices {

class TerminalGuard {
 public:
  TerminalGuard() = default;
  TerminalGuard(TerminalGuard&& other) noexcept;
  TerminalGuard& operator=(TerminalGuard&&) = delete;
  ~TerminalGuard();

  // `fd` is a terminal and borrowed for the life of the guard. kBusy if there is another guard in
  // the process: signal handlers know one.
  // Output processing stays on, so that hull's own messages keep their line ends.
  static Result<TerminalGuard> make_raw(int fd);

  // Readable after SIGCONT: a shell may have set the terminal to its own mode.
  int continued_fd() const { return continued_.fd(); }
  void forget_continued() const { continued_.consume(); }
  Result<void> make_raw_again();

  // Async-signal-safe, idempotent, any thread; does nothing where no guard lives.
  static void restore();

 private:
  explicit TerminalGuard(EventFd continued) : continued_(std::move(continued)) {}
  EventFd continued_;
  bool active_ = false;
};

}  // namespace hull::devices
