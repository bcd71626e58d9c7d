// The signals by which people and supervisors end a virtual machine, as events of the main loop.
#pragma once

#include <signal.h>

#include <functional>

#include "base/event_loop.h"
#include "base/unique_fd.h"

namespace hull::vmm {

// Blocks SIGTERM, SIGINT, SIGHUP and SIGQUIT in the calling thread, and so in all threads that it
// starts from then on, and unblocks them when it dies. Create it before the first thread.
class SignalWatcher {
 public:
  // `loop` outlives the watcher; `on_signal` runs on it with the signal's number.
  static Result<SignalWatcher> create(EventLoop& loop, std::function<void(int)> on_signal);
  SignalWatcher(SignalWatcher&& other) noexcept;
  SignalWatcher& operator=(SignalWatcher&&) = delete;
  ~SignalWatcher();

 private:
  SignalWatcher(EventLoop& loop, UniqueFd fd, sigset_t before)
      : loop_(loop), fd_(std::move(fd)), before_(before) {}
  EventLoop& loop_;
  UniqueFd fd_;
  sigset_t before_;
};

}  // namespace hull::vmm
