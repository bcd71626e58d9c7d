#include "virtio/net_sender.h"

#include <unistd.h>

#include <cerrno>

#include "virtio/net_receiver.h"

namespace hull::virtio {

namespace {

constexpr size_t kEthernetHeaderBytes = 14;

}  // namespace

NetSender::~NetSender() {
  if (frame_) queue_.discard(*std::move(frame_));
}

NetSender::Outcome NetSender::send(int fd) {
  if (!frame_) {
    auto popped = queue_.pop();
    if (!popped) {
      reason_ = describe(popped.error());
      return Outcome::kMalformed;
    }
    if (!*popped) return Outcome::kNoFrame;
    frame_.emplace(**std::move(popped));
  }
  const Outcome outcome = fd < 0 ? Outcome::kSent : write_frame(fd);
  if (outcome == Outcome::kBlocked) return outcome;
  // Nothing was written into the driver's memory (2.7.8).
  queue_.complete(*std::move(frame_), 0);
  frame_.reset();
  return outcome;
}

NetSender::Outcome NetSender::write_frame(int fd) {
  // The header is not parsed here: the kernel copies it once and checks its copy.
  ChainReader reader(*frame_);
  const size_t bytes = reader.remaining();
  if (bytes < kNetHeaderBytes + kEthernetHeaderBytes || bytes > kMaxNetFrameBytes)
    return Outcome::kSent;
  iovecs_.clear();
  reader.take_iovecs(bytes, iovecs_);
  ssize_t put;
  do {
    // One buffer is the usual case, and write(2) the shorter way through the kernel.
    put = iovecs_.size() == 1 ? ::write(fd, iovecs_[0].iov_base, bytes)
                              : ::writev(fd, iovecs_.data(), static_cast<int>(iovecs_.size()));
  } while (put < 0 && errno == EINTR);
  if (put >= 0) return Outcome::kSent;
  if (errno == EAGAIN) return Outcome::kBlocked;
  error_ = errno;
  return Outcome::kBackEnd;
}

}  // namespace hull::virtio
