// eventfd(2): how one thread wakes another, and how KVM and a device wake each other.
#pragma once

#include "base/unique_fd.h"

namespace hull {

class EventFd {
 public:
  EventFd() = default;
  static Result<EventFd> create();  // non-blocking, close-on-exec, counter 0

  void signal() const;   // any thread; never blocks
  bool consume() const;  // clears the counter; true if it was not zero
  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }

 private:
  explicit EventFd(UniqueFd fd) : fd_(std::move(fd)) {}
  UniqueFd fd_;
};

}  // namespace hull
