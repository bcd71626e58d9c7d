#include "virtio/rng_device.h"

#include <sys/epoll.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>

#include "base/log.h"

namespace hull::virtio {

namespace {

constexpr uint16_t kQueueSizes[] = {64};
// A guest-chosen size must not become work without bound.
constexpr uint64_t kMaxRequestBytes = 64 * 1024;
constexpr unsigned kMaxRequestsPerWake = 16;

// Fills the next `bytes` bytes of `writer` and returns how many it could.
size_t fill_with_entropy(ChainWriter writer, size_t bytes) {
  std::vector<iovec> pieces;
  writer.take_iovecs(bytes, pieces);
  size_t filled = 0;
  for (const iovec& piece : pieces) {
    size_t offset = 0;
    while (offset < piece.iov_len) {
      const ssize_t got =
          ::getrandom(static_cast<uint8_t*>(piece.iov_base) + offset, piece.iov_len - offset, 0);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return filled;
      offset += static_cast<size_t>(got);
      filled += static_cast<size_t>(got);
    }
  }
  return filled;
}

}  // namespace

// Lives from activate() to stop(); every member function runs on the worker.
class RngDevice::Session {
 public:
  Session(const RngOptions& options, EventLoop& loop, QueueResources resources,
          DeviceInterrupt& interrupt)
      : options_(options),
        loop_(loop),
        queue_(std::move(resources.queue)),
        kick_(*resources.kick),
        interrupt_(interrupt),
        left_in_period_(options.rate_bytes) {}

  void start() {
    const auto added = loop_.add(kick_.fd(), EPOLLIN, [this](uint32_t) {
      kick_.consume();
      process();
    });
    if (!added) fail(added.error().message());
  }

  void stop() { pause(); }

  // Nothing is in flight between two turns.
  void pause() {
    loop_.remove(kick_.fd());
    loop_.cancel(std::exchange(refill_timer_, 0));
  }
  void resume() {
    if (failed_) return;
    left_in_period_ = options_.rate_bytes;
    start();
    process();
  }
  QueuePosition position() const { return queue_.position(); }

 private:
  void process() {
    unsigned budget = kMaxRequestsPerWake;
    do {
      queue_.disable_notifications();
      for (; budget != 0 && may_serve(); --budget) {
        auto chain = queue_.pop();
        if (!chain) return fail(describe(chain.error()));
        if (!*chain) break;
        serve(**std::move(chain));
      }
      // The timer comes back to what the limit leaves in the ring.
      if (!may_serve()) break;
      if (budget == 0) {
        kick_.signal();
        break;
      }
    } while (!queue_.enable_notifications());
    if (queue_.should_notify()) interrupt_.used_buffers(0);
  }

  void serve(Chain chain) {
    const ChainWriter writer(chain);
    uint64_t bytes = std::min<uint64_t>(writer.remaining(), kMaxRequestBytes);
    if (limited()) bytes = std::min(bytes, left_in_period_);
    const size_t filled = fill_with_entropy(writer, bytes);
    queue_.complete(std::move(chain), static_cast<uint32_t>(filled));
    if (limited()) charge(filled);
  }

  bool limited() const { return options_.rate_bytes != 0; }
  bool may_serve() const { return !limited() || left_in_period_ != 0; }

  void charge(uint64_t bytes) {
    left_in_period_ -= bytes;
    if (refill_timer_ != 0) return;
    refill_timer_ = loop_.call_after(std::chrono::milliseconds(options_.rate_period_ms), [this] {
      refill_timer_ = 0;
      left_in_period_ = options_.rate_bytes;
      process();
    });
  }

  void fail(std::string_view why) {
    LOG_LIMITED(LogLevel::kWarn, options_.name, "{}: stopped: {}", options_.name, why);
    failed_ = true;
    loop_.remove(kick_.fd());
    interrupt_.device_failed();
  }

  const RngOptions& options_;
  EventLoop& loop_;
  Queue queue_;
  const EventFd& kick_;
  DeviceInterrupt& interrupt_;
  uint64_t left_in_period_;
  uint64_t refill_timer_ = 0;
  bool failed_ = false;
};

RngDevice::RngDevice(RngOptions options, WorkerThread& worker)
    : options_(std::move(options)), worker_(worker) {}

RngDevice::~RngDevice() { CHECK(session_ == nullptr); }

std::span<const uint16_t> RngDevice::queue_max_sizes() const { return kQueueSizes; }

void RngDevice::read_config(uint64_t offset, std::span<uint8_t> data) const {
  read_config_bytes({}, offset, data);  // 5.4.4: there is none
}

void RngDevice::write_config(uint64_t /*offset*/, std::span<const uint8_t> /*data*/) {}

Result<void> RngDevice::activate(DeviceResources resources) {
  std::optional<QueueResources>& queue = resources.queues[0];
  if (!queue) return {};
  session_ =
      std::make_shared<Session>(options_, worker_.loop(), *std::move(queue), *resources.interrupt);
  worker_.post([session = session_] { session->start(); });
  return {};
}

void RngDevice::pause(std::function<void()> paused) {
  if (session_ == nullptr) return paused();
  worker_.post([session = session_, done = std::move(paused)] {
    session->pause();
    done();
  });
}

void RngDevice::resume() {
  if (session_ != nullptr) worker_.post([session = session_] { session->resume(); });
}

std::vector<std::optional<QueuePosition>> RngDevice::queue_positions() const {
  if (session_ == nullptr) return {std::nullopt};
  return {session_->position()};
}

void RngDevice::stop(std::function<void()> stopped) {
  if (session_ == nullptr) return stopped();
  worker_.post([session = std::move(session_), stopped = std::move(stopped)]() mutable {
    session->stop();
    session.reset();
    stopped();
  });
}

}  // namespace hull::virtio
