#include "vmm/signals.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace hull::vmm {

Result<SignalWatcher> SignalWatcher::create(EventLoop& loop, std::function<void(int)> on_signal) {
  sigset_t watched;
  sigset_t before;
  sigemptyset(&watched);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) sigaddset(&watched, signal);
  pthread_sigmask(SIG_BLOCK, &watched, &before);
  UniqueFd fd(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return std::unexpected(Error::from_errno("signalfd"));
  const int raw = fd.get();
  TRY(loop.add(raw, EPOLLIN, [raw, handler = std::move(on_signal)](uint32_t) {
    signalfd_siginfo info;
    while (::read(raw, &info, sizeof info) == sizeof info)
      handler(static_cast<int>(info.ssi_signo));
  }));
  return SignalWatcher(loop, std::move(fd), before);
}

SignalWatcher::SignalWatcher(SignalWatcher&& other) noexcept
    : loop_(other.loop_), fd_(std::move(other.fd_)), before_(other.before_) {}

SignalWatcher::~SignalWatcher() {
  if (!fd_.valid()) return;
  loop_.remove(fd_.get());
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace hull::vmm
