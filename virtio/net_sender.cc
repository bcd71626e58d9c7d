#include "virtio/net_sender.h"

#include <cerrno>

namespace hull::virtio {

NetSender::~NetSender() {
  if (frame_) queue_.discard(*std::move(frame_));
}

NetSender::Outcome NetSender::send(NetBackend* backend) {
  if (!frame_) {
    auto popped = queue_.pop();
    if (!popped) {
      reason_ = describe(popped.error());
      return Outcome::kMalformed;
    }
    if (!*popped) return Outcome::kNoFrame;
    frame_.emplace(**std::move(popped));
  }
  const Outcome outcome = backend == nullptr ? Outcome::kSent : write_frame(*backend);
  if (outcome == Outcome::kBlocked) return outcome;
  // Nothing was written into the driver's memory (2.7.8).
  queue_.complete(*std::move(frame_), 0);
  frame_.reset();
  return outcome;
}

NetSender::Outcome NetSender::write_frame(NetBackend& backend) {
  ChainReader reader(*frame_);
  const size_t bytes = reader.remaining();
  if (bytes < kNetHeaderBytes + kEthernetHeaderBytes || bytes > kMaxNetFrameBytes)
    return Outcome::kSent;
  iovecs_.clear();
  reader.take_iovecs(bytes, iovecs_);
  error_ = backend.send(iovecs_, bytes);
  if (error_ == 0) return Outcome::kSent;
  return error_ == EAGAIN ? Outcome::kBlocked : Outcome::kBackEnd;
}

}  // namespace hull::virtio
