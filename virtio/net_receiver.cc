#include "virtio/net_receiver.h"

#include <algorithm>
#include <cerrno>
#include <climits>

#include "base/endian.h"

namespace hull::virtio {

namespace {

constexpr size_t kNumBuffersOffset = 10;  // in virtio_net_hdr
// Room for an ordinary frame; more is gathered while large ones arrive, because a long list of
// buffers costs time on each read.
constexpr size_t kSmallFrameBytes = 2048;

}  // namespace

NetReceiver::NetReceiver(Queue queue, bool mergeable)
    : queue_(std::move(queue)),
      mergeable_(mergeable),
      expected_bytes_(kSmallFrameBytes),
      spare_(std::make_unique_for_overwrite<uint8_t[]>(kMaxNetFrameBytes)) {}

NetReceiver::~NetReceiver() {
  for (Held& held : held_) queue_.discard(std::move(held.chain));
}

NetReceiver::Outcome NetReceiver::receive(NetBackend& backend) {
  if (!reason_.empty()) return Outcome::kMalformed;
  if (frame_bytes_ == 0) {
    const Outcome outcome = read_frame(backend);
    if (outcome != Outcome::kDelivered) return outcome;
  }
  const Outcome outcome = make_room();
  if (outcome != Outcome::kDelivered) return outcome;
  deliver();
  return Outcome::kDelivered;
}

std::vector<uint8_t> NetReceiver::waiting_frame() const {
  std::vector<uint8_t> frame;
  for (const Held& held : held_) {
    const size_t left = read_bytes_ - frame.size();
    if (frame_bytes_ == 0 || left == 0) break;
    std::vector<iovec> pieces;
    ChainWriter(held.chain).take_iovecs(std::min(left, held.bytes), pieces);
    for (const iovec& piece : pieces) {
      const auto* const bytes = static_cast<const uint8_t*>(piece.iov_base);
      frame.insert(frame.end(), bytes, bytes + piece.iov_len);
    }
  }
  if (frame_bytes_ != 0)
    frame.insert(frame.end(), spare_.get(), spare_.get() + (frame_bytes_ - read_bytes_));
  return frame;
}

bool NetReceiver::set_waiting_frame(std::span<const uint8_t> frame) {
  if (frame.size() <= kNetHeaderBytes || frame.size() > kMaxNetFrameBytes) return false;
  std::ranges::copy(frame, spare_.get());
  frame_bytes_ = frame.size();
  read_bytes_ = 0;
  return true;
}

NetReceiver::Taken NetReceiver::take_buffer() {
  auto popped = queue_.pop();
  if (!popped) {
    reason_ = describe(popped.error());
    return Taken::kMalformed;
  }
  if (!*popped) return Taken::kEmpty;
  const size_t bytes = ChainWriter(**popped).remaining();
  if (bytes < kNetHeaderBytes) {
    // 5.1.6.3.1; deliver() relies on the room for num_buffers.
    queue_.discard(**std::move(popped));
    reason_ = "receive buffer is smaller than a header";
    return Taken::kMalformed;
  }
  held_.push_back({**std::move(popped), bytes});
  held_bytes_ += bytes;
  return Taken::kYes;
}

NetReceiver::Outcome NetReceiver::read_frame(NetBackend& backend) {
  while (held_.empty() || (mergeable_ && held_bytes_ < expected_bytes_)) {
    const Taken taken = take_buffer();
    if (taken == Taken::kMalformed) return Outcome::kMalformed;
    if (taken == Taken::kYes) continue;
    if (held_.empty()) return Outcome::kNoBuffers;
    break;
  }
  iovecs_.clear();
  size_t room = 0;
  for (const Held& held : held_) {
    if (room != 0 && (!mergeable_ || room >= expected_bytes_)) break;
    // One more for the spare buffer. A single chain is shorter (NetOptions::queue_size).
    if (iovecs_.size() + held.chain.writable().size() >= IOV_MAX) break;
    ChainWriter(held.chain).take_iovecs(held.bytes, iovecs_);
    room += held.bytes;
  }
  iovecs_.push_back({spare_.get(), kMaxNetFrameBytes});
  const ssize_t got = backend.receive(iovecs_);
  if (got == -EAGAIN) return Outcome::kNoFrame;
  if (got < 0) {
    error_ = static_cast<int>(-got);
    return Outcome::kBackEnd;
  }
  frame_bytes_ = static_cast<size_t>(got);
  read_bytes_ = std::min(frame_bytes_, room);
  // Large frames come in rows.
  expected_bytes_ = frame_bytes_ > kSmallFrameBytes ? kMaxNetFrameBytes : kSmallFrameBytes;
  return Outcome::kDelivered;
}

// kDelivered: the frame lies in held buffers, or is given up.
NetReceiver::Outcome NetReceiver::make_room() {
  size_t room = 0;
  for (size_t i = 0; room < frame_bytes_; ++i) {
    const bool may_use = i == 0 || mergeable_;
    if (may_use && i == held_.size()) {
      const Taken taken = take_buffer();
      if (taken == Taken::kMalformed) return Outcome::kMalformed;
      if (taken == Taken::kEmpty && held_.size() < queue_.size()) return Outcome::kNoBuffers;
    }
    if (!may_use || i == held_.size()) {
      frame_bytes_ = 0;  // it never fits: the driver's whole ring is smaller
      return Outcome::kDelivered;
    }
    if (room + held_[i].bytes > read_bytes_) copy_spare_into(held_[i].chain, room);
    room += held_[i].bytes;
  }
  return Outcome::kDelivered;
}

// Writes what of the frame belongs into this buffer, which begins at `frame_offset`, and was not
// read into it.
void NetReceiver::copy_spare_into(const Chain& chain, size_t frame_offset) {
  ChainWriter writer(chain);
  const size_t end = std::min(frame_bytes_, frame_offset + writer.remaining());
  const size_t begin = std::max(frame_offset, read_bytes_);
  if (begin >= end) return;
  writer.skip(begin - frame_offset);
  CHECK(writer.write({spare_.get() + (begin - read_bytes_), end - begin}));
}

void NetReceiver::deliver() {
  size_t left = std::exchange(frame_bytes_, 0);
  if (left == 0) return;
  size_t count = 0;
  for (size_t bytes = 0; bytes < left; ++count) bytes += held_[count].bytes;
  ChainWriter header(held_.front().chain);
  header.skip(kNumBuffersOffset);
  const Le16 buffers = static_cast<uint16_t>(count);
  CHECK(header.write({reinterpret_cast<const uint8_t*>(&buffers), sizeof buffers}));
  // 5.1.6.4.1: the buffers of a frame appear together.
  for (size_t i = 0; i < count; ++i) {
    Held& held = held_.front();
    const size_t used = std::min(left, held.bytes);
    left -= used;
    held_bytes_ -= held.bytes;
    queue_.stage(std::move(held.chain), static_cast<uint32_t>(used));
    held_.pop_front();
  }
  queue_.publish();
}

}  // namespace hull::virtio
