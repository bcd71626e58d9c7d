// A thread's event core, as those see it who are guests on that thread: an EventLoop of their own
// runs inside of it (EventLoop::turn()).
#pragma once

#include <functional>

#include "base/result.h"

namespace hull {

class Reactor {
 public:
  virtual ~Reactor() = default;
  // Runs on the reactor's thread, in order. Any thread.
  virtual void post(std::function<void()> task) = 0;
  // Calls `ready` after `fd` became readable, at least once for any number of times, until
  // unwatch(). On the reactor's thread.
  virtual Result<void> watch(int fd, std::function<void()> ready) = 0;
  virtual void unwatch(int fd) = 0;
};

}  // namespace hull
