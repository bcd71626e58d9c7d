#include "virtio/user/frame_stream.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/endian.h"
#include "virtio/net_backend.h"

namespace hull::virtio {

namespace {

constexpr size_t kLengthBytes = sizeof(Be32);

}  // namespace

FrameStream::FrameStream(UniqueFd socket)
    : socket_(std::move(socket)),
      buffer_(std::make_unique_for_overwrite<uint8_t[]>(kReceiveBufferBytes)) {
  static_assert(kMaxFrameBytes + kLengthBytes <= kReceiveBufferBytes);
}

// The kernel cuts what is longer than half of the buffer (unix_stream_sendmsg), or 36 KiB.
Result<FrameStream> FrameStream::create(UniqueFd socket) {
  int bytes = kSendBufferBytes;
  socklen_t length = sizeof bytes;
  [[maybe_unused]] const int set =
      ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &bytes, &length) < 0)
    return std::unexpected(Error::of_host("the size of a socket's buffer"));
  if (static_cast<size_t>(bytes) < 3 * kMaxFrameBytes)
    return fail(ErrorKind::kHost,
                "a socket has a buffer of {} bytes, and a frame needs {}: 'sysctl "
                "net.core.wmem_max=212992'",
                bytes, 3 * kMaxFrameBytes);
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) < 0)
    return std::unexpected(Error::of_host("a socket that does not block"));
  return FrameStream(std::move(socket));
}

int FrameStream::send(std::span<const iovec> pieces) {
  if (error_ != 0) return error_;
  size_t bytes = 0;
  for (const iovec& piece : pieces) bytes += piece.iov_len;
  Be32 length = static_cast<uint32_t>(bytes);
  pieces_.assign(1, {&length, sizeof length});
  pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
  msghdr message{};
  message.msg_iov = pieces_.data();
  message.msg_iovlen = pieces_.size();
  ssize_t sent;
  do {
    sent = ::sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent == static_cast<ssize_t>(bytes + kLengthBytes)) return 0;
  if (sent < 0 && errno == EAGAIN) return EAGAIN;
  return error_ = sent < 0 ? errno : EPROTO;
}

// 0: its length has not been read yet.
size_t FrameStream::next_frame_bytes() const {
  if (unread() < kLengthBytes) return 0;
  Be32 length;
  std::memcpy(&length, buffer_.get() + begin_, sizeof length);
  return length;
}

bool FrameStream::holds_frames() const {
  const size_t bytes = next_frame_bytes();
  return unread() >= kLengthBytes && (bytes > kMaxFrameBytes || unread() - kLengthBytes >= bytes);
}

// False: there is nothing more for now.
bool FrameStream::fill() {
  std::memmove(buffer_.get(), buffer_.get() + begin_, unread());
  end_ -= std::exchange(begin_, 0);
  ssize_t got;
  do {
    got = ::recv(socket_.get(), buffer_.get() + end_, kReceiveBufferBytes - end_, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got > 0) end_ += static_cast<size_t>(got);
  if (got == 0) error_ = EPIPE;
  if (got < 0 && errno != EAGAIN) error_ = errno;
  return got > 0;
}

std::span<const uint8_t> FrameStream::receive() {
  bool filled = false;  // once: whoever sends nothing but trifles does not keep us here
  while (error_ == 0) {
    if (!holds_frames()) {
      if (std::exchange(filled, true) || !fill()) break;
      continue;
    }
    const size_t bytes = next_frame_bytes();
    if (bytes > kMaxFrameBytes) {
      error_ = EPROTO;
      break;
    }
    const uint8_t* const frame = buffer_.get() + begin_ + kLengthBytes;
    begin_ += kLengthBytes + bytes;
    if (bytes >= kEthernetHeaderBytes) return {frame, bytes};
  }
  return {};
}

}  // namespace hull::virtio
