#include "base/timer_fd.h"

#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "base/check.h"

namespace hull {

namespace {

void set_timer_fd(int fd, std::chrono::nanoseconds delay) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(delay);
  itimerspec setting{};
  setting.it_value.tv_sec = seconds.count();
  setting.it_value.tv_nsec = (delay - seconds).count();
  CHECK(::timerfd_settime(fd, 0, &setting, nullptr) == 0);
}

}  // namespace

Result<TimerFd> TimerFd::create() {
  UniqueFd fd(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!fd.valid()) return std::unexpected(Error::from_errno("timerfd_create"));
  return TimerFd(std::move(fd));
}

// Zero would disarm it.
void TimerFd::arm(std::chrono::nanoseconds delay) const {
  set_timer_fd(fd_.get(), std::max(delay, std::chrono::nanoseconds(1)));
}

void TimerFd::disarm() const { set_timer_fd(fd_.get(), std::chrono::nanoseconds(0)); }

bool TimerFd::consume() const {
  uint64_t expirations = 0;
  return ::read(fd_.get(), &expirations, sizeof expirations) ==
         static_cast<ssize_t>(sizeof expirations);
}

}  // namespace hull
