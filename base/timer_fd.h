// timerfd(2): one shot of CLOCK_MONOTONIC that makes a descriptor readable.
#pragma once

#include <chrono>

#include "base/unique_fd.h"

namespace hull {

class TimerFd {
 public:
  static Result<TimerFd> create();  // non-blocking, close-on-exec, disarmed

  // Any thread; the last call counts. A delay of zero or less is over at once.
  void arm(std::chrono::nanoseconds delay) const;
  void disarm() const;
  bool consume() const;  // true if it has expired since it was armed
  int fd() const { return fd_.get(); }

 private:
  explicit TimerFd(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace hull
