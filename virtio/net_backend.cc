#include "virtio/net_backend.h"

#include <unistd.h>

#include <cerrno>

namespace hull::virtio {

// The header is not parsed here: the kernel copies it once and checks its copy.
int NetBackend::send(std::span<const iovec> pieces, size_t bytes) {
  ssize_t put;
  do {
    // One buffer is the usual case, and write(2) the shorter way through the kernel.
    put = pieces.size() == 1 ? ::write(fd(), pieces[0].iov_base, bytes)
                             : ::writev(fd(), pieces.data(), static_cast<int>(pieces.size()));
  } while (put < 0 && errno == EINTR);
  return put < 0 ? errno : 0;
}

ssize_t NetBackend::receive(std::span<const iovec> pieces) {
  ssize_t got;
  do {
    got = ::readv(fd(), pieces.data(), static_cast<int>(pieces.size()));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return -errno;
  // The other side has closed, or sends what is no frame.
  return static_cast<size_t>(got) <= kNetHeaderBytes ? -EPIPE : got;
}

}  // namespace hull::virtio
