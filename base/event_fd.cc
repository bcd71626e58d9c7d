#include "base/event_fd.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace hull {

Result<EventFd> EventFd::create() {
  const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) return std::unexpected(Error::from_errno("eventfd"));
  return EventFd(UniqueFd(fd));
}

void EventFd::signal() const {
  const uint64_t one = 1;
  // EAGAIN means the counter is at its maximum: the other side is signalled already.
  while (::write(fd_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

bool EventFd::consume() const {
  uint64_t count;
  ssize_t got;
  do {
    got = ::read(fd_.get(), &count, sizeof count);
  } while (got < 0 && errno == EINTR);
  return got == sizeof count;
}

}  // namespace hull
