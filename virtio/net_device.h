// Virtio network device (virtio 1.2, 5.1): one receive and one transmit queue.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>

#include "virtio/device.h"
#include "virtio/net_backend.h"
#include "virtio/net_session.h"
#include "virtio/worker_thread.h"

namespace hull::virtio {

struct NetOptions {
  std::string name = "net0";
  std::array<uint8_t, 6> mac{};
  std::optional<uint16_t> mtu = {};  // told to the driver; 68 to 65535; absent: the back end's
  bool link_up = true;               // false: the driver sees no carrier, frames are dropped
  uint16_t queue_size = 256;         // a power of two, at most 512
};

class NetDevice final : public VirtioDevice {
 public:
  // `backend` (null: frames go nowhere and none arrive) and `worker` outlive the device, so that a
  // tap lives on when the machine around the device is built anew.
  NetDevice(NetOptions options, NetBackend* backend, WorkerThread& worker);
  ~NetDevice() override;

  std::string_view name() const override { return options_.name; }
  DeviceType type() const override { return DeviceType{1}; }
  FeatureSet device_features() const override;
  std::span<const uint16_t> queue_max_sizes() const override { return queue_sizes_; }
  void read_config(uint64_t offset, std::span<uint8_t> data) const override;
  void write_config(uint64_t offset, std::span<const uint8_t> data) override;
  Result<void> activate(DeviceResources resources) override;
  void stop(std::function<void()> stopped) override;
  void pause(std::function<void()> paused) override;
  void resume() override;
  std::vector<std::optional<QueuePosition>> queue_positions() const override;
  uint32_t max_held_bytes() const override { return kMaxNetFrameBytes; }
  std::vector<uint8_t> held() const override;
  void hold(std::span<const uint8_t> held) override;

 private:
  const NetOptions options_;
  const std::array<uint16_t, 2> queue_sizes_;
  const NetOffloads offloads_;  // what the back end can do
  WorkerThread& worker_;
  NetSession::Link link_;
  std::vector<uint8_t> waiting_frame_;   // of another device, for the next activation
  std::shared_ptr<NetSession> session_;  // one activation, on the worker
};

}  // namespace hull::virtio
