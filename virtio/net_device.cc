#include "virtio/net_device.h"

#include <bit>
#include <cstring>
#include <utility>

#include "base/endian.h"

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

NetOptions with_mtu_of(NetOptions options, const NetBackend* backend) {
  if (!options.mtu && backend != nullptr) options.mtu = backend->mtu();
  return options;
}

}  // namespace

NetDevice::NetDevice(NetOptions options, NetBackend* backend, WorkerThread& worker)
    : options_(with_mtu_of(std::move(options), backend)),
      queue_sizes_{options_.queue_size, options_.queue_size},
      offloads_(backend != nullptr ? backend->supported_offloads() : NetOffloads()),
      worker_(worker),
      link_{.backend = backend, .up = options_.link_up} {
  CHECK(std::has_single_bit(options_.queue_size) && options_.queue_size <= 512);
}

NetDevice::~NetDevice() { CHECK(session_ == nullptr); }

FeatureSet NetDevice::device_features() const {
  return FeatureSet()
      .with(NetFeature::kMac)
      .with(NetFeature::kStatus)
      .with(NetFeature::kMergeableBuffers)
      .with(NetFeature::kMtu, options_.mtu.has_value())
      .with(NetFeature::kChecksum, offloads_.checksum)
      .with(NetFeature::kHostTso4, offloads_.tso4)
      .with(NetFeature::kHostTso6, offloads_.tso6)
      .with(NetFeature::kHostEcn, offloads_.ecn)
      .with(NetFeature::kGuestChecksum, offloads_.checksum)
      .with(NetFeature::kGuestTso4, offloads_.tso4)
      .with(NetFeature::kGuestTso6, offloads_.tso6)
      .with(NetFeature::kGuestEcn, offloads_.ecn);
}

void NetDevice::read_config(uint64_t offset, std::span<uint8_t> data) const {
  NetConfig config{};
  std::memcpy(config.mac, options_.mac.data(), options_.mac.size());
  config.status = link_.up.load(std::memory_order_relaxed) ? kLinkUp : uint16_t{0};
  config.max_pairs = uint16_t{1};
  config.mtu = options_.mtu.value_or(0);
  read_config_bytes({reinterpret_cast<const uint8_t*>(&config), sizeof config}, offset, data);
}

// 5.1.4: every field is read-only for the driver.
void NetDevice::write_config(uint64_t /*offset*/, std::span<const uint8_t> /*data*/) {}

Result<void> NetDevice::activate(DeviceResources resources) {
  const FeatureSet features = resources.features;
  session_ = std::make_shared<NetSession>(
      NetSession::Context{.name = options_.name,
                          .link = link_,
                          .loop = worker_.loop(),
                          .offloads = {.checksum = features.has(NetFeature::kGuestChecksum),
                                       .tso4 = features.has(NetFeature::kGuestTso4),
                                       .tso6 = features.has(NetFeature::kGuestTso6),
                                       .ecn = features.has(NetFeature::kGuestEcn)},
                          .mergeable_buffers = features.has(NetFeature::kMergeableBuffers)},
      std::move(resources));
  session_->set_waiting_frame(std::exchange(waiting_frame_, {}));
  worker_.post([session = session_] { session->start(); });
  return {};
}

void NetDevice::pause(std::function<void()> paused) {
  if (session_ == nullptr) return paused();
  worker_.post([session = session_, done = std::move(paused)] {
    session->pause();
    done();
  });
}

void NetDevice::resume() {
  if (session_ != nullptr) worker_.post([session = session_] { session->resume(); });
}

std::vector<std::optional<QueuePosition>> NetDevice::queue_positions() const {
  if (session_ == nullptr) return {std::nullopt, std::nullopt};
  return session_->positions();
}

std::vector<uint8_t> NetDevice::held() const {
  return session_ == nullptr ? std::vector<uint8_t>() : session_->waiting_frame();
}

void NetDevice::hold(std::span<const uint8_t> held) {
  waiting_frame_.assign(held.begin(), held.end());
}

void NetDevice::stop(std::function<void()> stopped) {
  if (session_ == nullptr) return stopped();
  worker_.post([session = std::move(session_), stopped = std::move(stopped)]() mutable {
    session->stop();
    session.reset();
    stopped();
  });
}

}  // namespace hull::virtio
