#include "base/non_blocking_fd.h"

#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace hull {

namespace {

ssize_t or_negative_errno(ssize_t result) { return result < 0 ? -errno : result; }

}  // namespace

Result<NonBlockingFd> NonBlockingFd::from_inherited(int fd, int access) {
  struct stat info;
  if (::fstat(fd, &info) < 0)
    return std::unexpected(Error::from_errno(fmt::format("file descriptor {}", fd)));
  if (S_ISFIFO(info.st_mode) || S_ISCHR(info.st_mode)) {
    // May fail: a terminal of another user, a pipe whose reader is gone.
    auto own = open_file(fmt::format("/proc/self/fd/{}", fd), access | O_NONBLOCK | O_NOCTTY);
    if (own) return NonBlockingFd(std::move(*own));
  }
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!copy.valid())
    return std::unexpected(Error::from_errno(fmt::format("duplicate file descriptor {}", fd)));
  if (S_ISSOCK(info.st_mode)) return NonBlockingFd(std::move(copy), Mode::kSocket, SIZE_MAX);
  // A writable pipe has room for PIPE_BUF bytes; a writable terminal promises a single one.
  if (S_ISFIFO(info.st_mode)) return NonBlockingFd(std::move(copy), Mode::kPollFirst, PIPE_BUF);
  if (S_ISCHR(info.st_mode)) return NonBlockingFd(std::move(copy), Mode::kPollFirst, 1);
  return NonBlockingFd(std::move(copy));
}

bool NonBlockingFd::is_ready(short events) const {
  pollfd entry{.fd = fd_.get(), .events = events, .revents = 0};
  return ::poll(&entry, 1, 0) > 0;
}

ssize_t NonBlockingFd::read(std::span<uint8_t> data) const {
  if (mode_ == Mode::kPollFirst && !is_ready(POLLIN)) return -EAGAIN;
  ssize_t got;
  do {
    got = mode_ == Mode::kSocket ? ::recv(fd_.get(), data.data(), data.size(), MSG_DONTWAIT)
                                 : ::read(fd_.get(), data.data(), data.size());
  } while (got < 0 && errno == EINTR);
  return or_negative_errno(got);
}

ssize_t NonBlockingFd::write(std::span<const uint8_t> data) const {
  if (mode_ == Mode::kPollFirst && !is_ready(POLLOUT)) return -EAGAIN;
  data = data.first(std::min(data.size(), chunk_));
  ssize_t put;
  do {
    put = mode_ == Mode::kSocket
              ? ::send(fd_.get(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL)
              : ::write(fd_.get(), data.data(), data.size());
  } while (put < 0 && errno == EINTR);
  return or_negative_errno(put);
}

}  // namespace hull
