// Ethernet frames on a stream socket, each behind its length in four bytes, big-endian: the wire of
// passt and of QEMU's stream and socket network back ends.
//
// The other side reads a frame that it has not got whole in a way that loses the place in the
// stream for good, so each is sent whole or not at all.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/limits.h"
#include "base/unique_fd.h"

namespace hull::virtio {

class FrameStream {
 public:
  // Without a header; what a stream socket with kSendBufferBytes takes whole.
  static constexpr size_t kMaxFrameBytes = kMaxUserMtu + 14;

  // A socket of kind SOCK_STREAM, which does not block from here on. kHost if its buffer cannot
  // hold a frame.
  static Result<FrameStream> create(UniqueFd socket);

  int fd() const { return socket_.get(); }
  // `pieces` together are the frame, 14 to kMaxFrameBytes. 0, EAGAIN, or another errno: the stream
  // is of no use any more.
  int send(std::span<const iovec> pieces);
  // The next frame, whatever kind of thing it is; empty with error() == 0: none has arrived.
  // Frames too short to be one are skipped. Valid until the next call.
  std::span<const uint8_t> receive();
  // errno of what has ended the stream: EPROTO for lengths that no frame has.
  int error() const { return error_; }
  // There is a whole frame, or a wrong length, that has been read already.
  bool holds_frames() const;

 private:
  static constexpr int kSendBufferBytes = 256 << 10;
  static constexpr size_t kReceiveBufferBytes = 256 << 10;

  explicit FrameStream(UniqueFd socket);
  bool fill();
  size_t unread() const { return end_ - begin_; }
  size_t next_frame_bytes() const;

  UniqueFd socket_;
  std::unique_ptr<uint8_t[]> buffer_;
  size_t begin_ = 0;  // of what has been read from the socket and not from here
  size_t end_ = 0;
  int error_ = 0;
  std::vector<iovec> pieces_;
};

}  // namespace hull::virtio
