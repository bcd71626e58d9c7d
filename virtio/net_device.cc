#include "virtio/net_device.h"

#include <sys/epoll.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "base/endian.h"
#include "base/log.h"
#include "virtio/net_receiver.h"
#include "virtio/net_sender.h"

namespace hull::virtio {

namespace {

// Virtio 1.2, 5.1.3.
enum class NetFeature : uint8_t {
  kChecksum = 0,
  kGuestChecksum = 1,
  kMtu = 3,
  kMac = 5,
  kGuestTso4 = 7,
  kGuestTso6 = 8,
  kGuestEcn = 9,
  kHostTso4 = 11,
  kHostTso6 = 12,
  kHostEcn = 13,
  kMergeableBuffers = 15,
  kStatus = 16,
};

// Virtio 1.2, 5.1.4.
struct NetConfig {
  uint8_t mac[6];  // 0x0
  Le16 status;     // 0x6
  Le16 max_pairs;  // 0x8
  Le16 mtu;        // 0xa
};
static_assert(sizeof(NetConfig) == 12);

constexpr uint16_t kLinkUp = 1;

constexpr size_t kReceiveQueue = 0;
constexpr size_t kTransmitQueue = 1;
// Frames in one direction before the other one and other devices on the thread get a turn.
constexpr unsigned kMaxFramesPerWake = 128;
constexpr std::chrono::milliseconds kRetryDelay{100};

bool is_gone(int error) {
  return error == EBADFD || error == EBADF || error == ENODEV || error == EPIPE ||
         error == ECONNRESET;
}

}  // namespace

// Lives from activate() to reset(); every member function runs on the worker.
class NetDevice::Session {
 public:
  Session(const NetOptions& options, NetBackend* backend, std::atomic<bool>& link_up,
          EventLoop& loop, DeviceResources resources)
      : options_(options),
        backend_(backend),
        link_up_(link_up),
        loop_(loop),
        interrupt_(*resources.interrupt),
        features_(resources.features) {
    if (auto& queue = resources.queues[kReceiveQueue]) {
      receive_kick_ = queue->kick;
      receiver_.emplace(std::move(queue->queue), features_.has(NetFeature::kMergeableBuffers));
    }
    if (auto& queue = resources.queues[kTransmitQueue]) {
      transmit_kick_ = queue->kick;
      sender_.emplace(std::move(queue->queue));
    }
  }

  void start();
  void stop();

 private:
  void add(int fd, uint32_t events, void (Session::*handler)());
  void on_backend(uint32_t events);
  void receive();
  void receive_frames();
  void wait_for_buffers();
  void pause_after(int error);
  void transmit();
  bool transmit_frames(unsigned& budget);
  void watch_backend();
  void lose_backend(std::string_view why);
  void fail(std::string_view why);

  int sending_fd() const {
    return backend_ != nullptr && link_up_.load(std::memory_order_relaxed) ? backend_->fd() : -1;
  }

  const NetOptions& options_;
  NetBackend* backend_;  // null: none, or it is gone
  std::atomic<bool>& link_up_;
  EventLoop& loop_;
  DeviceInterrupt& interrupt_;
  const FeatureSet features_;
  const EventFd* receive_kick_ = nullptr;
  const EventFd* transmit_kick_ = nullptr;
  std::optional<NetReceiver> receiver_;
  std::optional<NetSender> sender_;
  bool waits_for_frames_ = false;   // EPOLLIN on the back end
  bool waits_for_room_ = false;     // EPOLLOUT on the back end
  bool waits_for_buffers_ = false;  // the driver's next kick on the receive queue
  bool stopped_ = false;
  uint64_t retry_timer_ = 0;
};

void NetDevice::Session::start() {
  // Edge-triggered: a kick then costs no read of its counter.
  if (receiver_) add(receive_kick_->fd(), EPOLLIN | EPOLLET, &Session::receive);
  if (sender_) add(transmit_kick_->fd(), EPOLLIN | EPOLLET, &Session::transmit);
  if (backend_ == nullptr || stopped_) return;
  const auto set = backend_->set_offloads({.checksum = features_.has(NetFeature::kGuestChecksum),
                                           .tso4 = features_.has(NetFeature::kGuestTso4),
                                           .tso6 = features_.has(NetFeature::kGuestTso6),
                                           .ecn = features_.has(NetFeature::kGuestEcn)});
  if (!set) return lose_backend(set.error().message());
  // EPOLLERR and EPOLLHUP are always reported.
  const auto added = loop_.add(backend_->fd(), 0, [this](uint32_t events) { on_backend(events); });
  if (!added) return fail(added.error().message());
  waits_for_frames_ = receiver_.has_value() && link_up_.load(std::memory_order_relaxed);
  watch_backend();
}

void NetDevice::Session::add(int fd, uint32_t events, void (Session::*handler)()) {
  const auto added = loop_.add(fd, events, [this, handler](uint32_t) { (this->*handler)(); });
  if (!added) fail(added.error().message());
}

void NetDevice::Session::stop() {
  if (receive_kick_ != nullptr) loop_.remove(receive_kick_->fd());
  if (transmit_kick_ != nullptr) loop_.remove(transmit_kick_->fd());
  if (retry_timer_ != 0) loop_.cancel(retry_timer_);
  if (backend_ == nullptr) return;
  loop_.remove(backend_->fd());
  // The next driver may not know what this one did.
  [[maybe_unused]] const auto cleared = backend_->set_offloads({});
}

void NetDevice::Session::watch_backend() {
  if (backend_ == nullptr) return;
  const uint32_t events = (waits_for_frames_ ? EPOLLIN : 0U) | (waits_for_room_ ? EPOLLOUT : 0U);
  if (const auto modified = loop_.modify(backend_->fd(), events); !modified)
    lose_backend(modified.error().message());
}

void NetDevice::Session::on_backend(uint32_t events) {
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return lose_backend("the interface is gone");
  if ((events & EPOLLOUT) != 0) {
    waits_for_room_ = false;
    watch_backend();
    transmit();
  }
  if ((events & EPOLLIN) != 0 && !stopped_ && backend_ != nullptr) receive_frames();
}

// The driver added buffers.
void NetDevice::Session::receive() {
  if (!waits_for_buffers_ || backend_ == nullptr) return;
  waits_for_buffers_ = false;
  waits_for_frames_ = true;
  watch_backend();
  if (backend_ != nullptr) receive_frames();
}

void NetDevice::Session::receive_frames() {
  Queue& queue = receiver_->queue();
  queue.disable_notifications();
  // When the budget is used up the loop comes back: the back end is level-triggered.
  for (unsigned budget = kMaxFramesPerWake; budget != 0; --budget) {
    const auto outcome = receiver_->receive(backend_->fd());
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
  if (queue.should_notify()) interrupt_.used_buffers(kReceiveQueue);
}

void NetDevice::Session::wait_for_buffers() {
  waits_for_buffers_ = true;
  waits_for_frames_ = false;
  watch_backend();
}

void NetDevice::Session::pause_after(int error) {
  if (is_gone(error)) return lose_backend(std::strerror(error));
  // Down, most likely. The descriptor may stay readable, so ask again later and not at once.
  LOG_LIMITED(LogLevel::kWarn, "{}: receive: {}", options_.name, std::strerror(error));
  waits_for_frames_ = false;
  watch_backend();
  retry_timer_ = loop_.call_after(kRetryDelay, [this] {
    retry_timer_ = 0;
    waits_for_frames_ = true;
    watch_backend();
  });
}

void NetDevice::Session::transmit() {
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
bool NetDevice::Session::transmit_frames(unsigned& budget) {
  for (; budget != 0; --budget) {
    switch (sender_->send(sending_fd())) {
      case NetSender::Outcome::kSent: break;
      case NetSender::Outcome::kNoFrame: return true;
      case NetSender::Outcome::kBlocked:
        waits_for_room_ = true;
        watch_backend();
        return false;
      case NetSender::Outcome::kBackEnd:
        if (is_gone(sender_->error()))
          lose_backend(std::strerror(sender_->error()));
        else
          LOG_LIMITED(LogLevel::kDebug, "{}: frame dropped: {}", options_.name,
                      std::strerror(sender_->error()));
        break;
      case NetSender::Outcome::kMalformed: fail(sender_->reason()); return false;
    }
  }
  return true;
}

// The network is gone, the guest stays: no carrier, and what it sends is dropped.
void NetDevice::Session::lose_backend(std::string_view why) {
  if (backend_ == nullptr) return;
  LOG_WARN("{}: network lost: {}", options_.name, why);
  loop_.remove(backend_->fd());
  backend_ = nullptr;
  waits_for_room_ = false;
  link_up_.store(false, std::memory_order_relaxed);
  interrupt_.config_changed();
  // A frame may be kept that no EPOLLOUT will send.
  if (transmit_kick_ != nullptr) transmit_kick_->signal();
}

void NetDevice::Session::fail(std::string_view why) {
  LOG_LIMITED(LogLevel::kWarn, "{}: stopped: {}", options_.name, why);
  stop();
  backend_ = nullptr;
  stopped_ = true;
  interrupt_.device_failed();
}

NetDevice::NetDevice(NetOptions options, NetBackend* backend, WorkerThread& worker)
    : options_(std::move(options)),
      queue_sizes_{options_.queue_size, options_.queue_size},
      backend_(backend),
      worker_(worker),
      link_up_(options_.link_up) {
  CHECK(std::has_single_bit(options_.queue_size) && options_.queue_size <= 512);
}

NetDevice::~NetDevice() { NetDevice::reset(); }

FeatureSet NetDevice::device_features() const {
  const NetOffloads offloads = backend_ != nullptr ? backend_->supported_offloads() : NetOffloads();
  return FeatureSet()
      .with(NetFeature::kMac)
      .with(NetFeature::kStatus)
      .with(NetFeature::kMergeableBuffers)
      .with(NetFeature::kMtu, options_.mtu.has_value())
      .with(NetFeature::kChecksum, offloads.checksum)
      .with(NetFeature::kHostTso4, offloads.tso4)
      .with(NetFeature::kHostTso6, offloads.tso6)
      .with(NetFeature::kHostEcn, offloads.ecn)
      .with(NetFeature::kGuestChecksum, offloads.checksum)
      .with(NetFeature::kGuestTso4, offloads.tso4)
      .with(NetFeature::kGuestTso6, offloads.tso6)
      .with(NetFeature::kGuestEcn, offloads.ecn);
}

void NetDevice::read_config(uint64_t offset, std::span<uint8_t> data) const {
  NetConfig config{};
  std::memcpy(config.mac, options_.mac.data(), options_.mac.size());
  config.status = link_up_.load(std::memory_order_relaxed) ? kLinkUp : uint16_t{0};
  config.max_pairs = uint16_t{1};
  config.mtu = options_.mtu.value_or(0);
  read_config_bytes({reinterpret_cast<const uint8_t*>(&config), sizeof config}, offset, data);
}

// 5.1.4: every field is read-only for the driver.
void NetDevice::write_config(uint64_t /*offset*/, std::span<const uint8_t> /*data*/) {}

Result<void> NetDevice::activate(DeviceResources resources) {
  session_ =
      std::make_unique<Session>(options_, backend_, link_up_, worker_.loop(), std::move(resources));
  worker_.post([session = session_.get()] { session->start(); });
  return {};
}

void NetDevice::reset() {
  if (session_ == nullptr) return;
  worker_.call([this] {
    session_->stop();
    session_.reset();
  });
}

}  // namespace hull::virtio
