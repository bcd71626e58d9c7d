#include "virtio/net_session.h"

#include <sys/epoll.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace hull::virtio {

namespace {

// Frames in one direction before the other one and other devices on the thread get a turn.
constexpr unsigned kMaxFramesPerWake = 128;
constexpr std::chrono::milliseconds kRetryDelay{100};

bool is_gone(int error) {
  return error == EBADFD || error == EBADF || error == ENODEV || error == EPIPE ||
         error == ECONNRESET || error == EPROTO;
}

}  // namespace

NetSession::NetSession(Context context, DeviceResources resources)
    : context_(context), interrupt_(*resources.interrupt) {
  if (auto& queue = resources.queues[kReceiveQueue]) {
    receive_kick_ = queue->kick;
    receiver_.emplace(std::move(queue->queue), context_.mergeable_buffers);
  }
  if (auto& queue = resources.queues[kTransmitQueue]) {
    transmit_kick_ = queue->kick;
    sender_.emplace(std::move(queue->queue));
  }
}

void NetSession::start() {
  backend_ = context_.link.backend;
  waits_for_frames_ = receiver_.has_value() && !waits_for_buffers_ &&
                      context_.link.up.load(std::memory_order_relaxed);
  watch_all();
}

void NetSession::watch_all() {
  // Edge-triggered: a kick then costs no read of its counter.
  if (receiver_) add(receive_kick_->fd(), EPOLLIN | EPOLLET, &NetSession::receive);
  if (sender_) add(transmit_kick_->fd(), EPOLLIN | EPOLLET, &NetSession::transmit);
  if (backend_ == nullptr || stopped_) return;
  const auto set = backend_->set_offloads(context_.offloads);
  if (!set) return lose_backend(set.error().message());
  // EPOLLERR and EPOLLHUP are always reported.
  const auto added =
      context_.loop.add(backend_->fd(), 0, [this](uint32_t events) { on_backend(events); });
  if (!added) return fail(added.error().message());
  watch_backend();
  if (backend_ != nullptr && waits_for_frames_ && backend_->holds_frames())
    receive_after(std::chrono::milliseconds(0));
}

void NetSession::pause() {
  if (receive_kick_ != nullptr) context_.loop.remove(receive_kick_->fd());
  if (transmit_kick_ != nullptr) context_.loop.remove(transmit_kick_->fd());
  if (backend_ != nullptr) context_.loop.remove(backend_->fd());
  if (retry_timer_ == 0) return;
  context_.loop.cancel(std::exchange(retry_timer_, 0));
  waits_for_frames_ = true;
}

void NetSession::resume() {
  if (stopped_) return;
  watch_all();
  // Drivers may have had no reason to kick.
  if (receive_kick_ != nullptr) receive_kick_->signal();
  if (transmit_kick_ != nullptr) transmit_kick_->signal();
}

std::vector<std::optional<QueuePosition>> NetSession::positions() const {
  std::vector<std::optional<QueuePosition>> positions(2);
  if (receiver_) positions[kReceiveQueue] = receiver_->queue().position();
  if (sender_) positions[kTransmitQueue] = sender_->queue().position();
  return positions;
}

std::vector<uint8_t> NetSession::waiting_frame() const {
  return receiver_ ? receiver_->waiting_frame() : std::vector<uint8_t>();
}

// The kicks after an activation have it delivered as far as there is room.
void NetSession::set_waiting_frame(std::span<const uint8_t> frame) {
  if (receiver_) waits_for_buffers_ = receiver_->set_waiting_frame(frame);
}

void NetSession::add(int fd, uint32_t events, void (NetSession::*handler)()) {
  const auto added =
      context_.loop.add(fd, events, [this, handler](uint32_t) { (this->*handler)(); });
  if (!added) fail(added.error().message());
}

void NetSession::stop() {
  pause();
  if (backend_ == nullptr) return;
  // The next driver may not know what this one did.
  [[maybe_unused]] const auto cleared = backend_->set_offloads({});
}

void NetSession::watch_backend() {
  if (backend_ == nullptr) return;
  const uint32_t events = (waits_for_frames_ ? EPOLLIN : 0U) | (waits_for_room_ ? EPOLLOUT : 0U);
  if (const auto modified = context_.loop.modify(backend_->fd(), events); !modified)
    lose_backend(modified.error().message());
}

void NetSession::on_backend(uint32_t events) {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return lose_backend(backend_->why_gone());
  if ((events & EPOLLOUT) != 0) {
    waits_for_room_ = false;
    watch_backend();
    transmit();
  }
  if ((events & EPOLLIN) != 0 && !stopped_ && backend_ != nullptr) receive_frames();
}

// The driver added buffers.
void NetSession::receive() {
  if (!waits_for_buffers_ || backend_ == nullptr) return;
  waits_for_buffers_ = false;
  waits_for_frames_ = true;
  watch_backend();
  if (backend_ != nullptr) receive_frames();
}

void NetSession::receive_frames() {
  Queue& queue = receiver_->queue();
  queue.disable_notifications();
  // When the budget is used up the loop comes back: the back end is level-triggered, but for frames
  // that it holds itself.
  unsigned budget = kMaxFramesPerWake;
  for (; budget != 0; --budget) {
    const auto outcome = receiver_->receive(*backend_);
    if (outcome == NetReceiver::Outcome::kDelivered) continue;
    if (outcome == NetReceiver::Outcome::kMalformed) return fail(receiver_->reason());
    if (outcome == NetReceiver::Outcome::kBackEnd) {
      pause_after(receiver_->error());
    } else if (outcome == NetReceiver::Outcome::kNoBuffers) {
      if (!queue.enable_notifications()) continue;
      wait_for_buffers();
    }
    break;
  }
  if (budget == 0 && backend_->holds_frames()) receive_after(std::chrono::milliseconds(0));
  if (queue.should_notify()) interrupt_.used_buffers(kReceiveQueue);
}

void NetSession::wait_for_buffers() {
  waits_for_buffers_ = true;
  waits_for_frames_ = false;
  watch_backend();
}

void NetSession::pause_after(int error) {
  if (is_gone(error)) return lose_backend(why_gone(error));
  // Down, most likely. The descriptor may stay readable, so ask again later and not at once.
  LOG_LIMITED(LogLevel::kWarn, context_.name, "{}: receive: {}", context_.name,
              std::strerror(error));
  waits_for_frames_ = false;
  watch_backend();
  receive_after(kRetryDelay);
}

void NetSession::receive_after(std::chrono::milliseconds delay) {
  if (retry_timer_ != 0) return;
  retry_timer_ = context_.loop.call_after(delay, [this] {
    retry_timer_ = 0;
    if (waits_for_buffers_ || backend_ == nullptr) return;
    waits_for_frames_ = true;
    watch_backend();
    if (backend_ != nullptr) receive_frames();
  });
}

void NetSession::transmit() {
  // EPOLLOUT goes on where this stopped.
  if (stopped_ || waits_for_room_ || !sender_) return;
  Queue& queue = sender_->queue();
  unsigned budget = kMaxFramesPerWake;
  do {
    queue.disable_notifications();
    if (!transmit_frames(budget)) break;
    if (budget == 0) {
      transmit_kick_->signal();
      break;
    }
  } while (!queue.enable_notifications());
  if (queue.should_notify()) interrupt_.used_buffers(kTransmitQueue);
}

// True when the ring is empty or the budget used up.
bool NetSession::transmit_frames(unsigned& budget) {
  for (; budget != 0; --budget) {
    switch (sender_->send(sending_backend())) {
      case NetSender::Outcome::kSent: break;
      case NetSender::Outcome::kNoFrame: return true;
      case NetSender::Outcome::kBlocked:
        waits_for_room_ = true;
        watch_backend();
        return false;
      case NetSender::Outcome::kBackEnd:
        if (is_gone(sender_->error()))
          lose_backend(why_gone(sender_->error()));
        else
          LOG_LIMITED(LogLevel::kDebug, context_.name, "{}: frame dropped: {}", context_.name,
                      std::strerror(sender_->error()));
        break;
      case NetSender::Outcome::kMalformed: fail(sender_->reason()); return false;
    }
  }
  return true;
}

std::string NetSession::why_gone(int error) const {
  return fmt::format("{}: {}", backend_->why_gone(), std::strerror(error));
}

// The network is gone, the guest stays: no carrier, and what it sends is dropped.
void NetSession::lose_backend(std::string_view why) {
  if (backend_ == nullptr) return;
  LOG_LIMITED(LogLevel::kWarn, context_.name, "{}: network lost: {}", context_.name, why);
  context_.loop.remove(backend_->fd());
  backend_ = nullptr;
  context_.link.backend = nullptr;
  waits_for_room_ = false;
  context_.link.up.store(false, std::memory_order_relaxed);
  interrupt_.config_changed();
  // A frame may be kept that no EPOLLOUT will send.
  if (transmit_kick_ != nullptr) transmit_kick_->signal();
}

void NetSession::fail(std::string_view why) {
  LOG_LIMITED(LogLevel::kWarn, context_.name, "{}: stopped: {}", context_.name, why);
  stop();
  backend_ = nullptr;
  stopped_ = true;
  interrupt_.device_failed();
}

}  // namespace hull::virtio
