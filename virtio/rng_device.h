// Virtio entropy device (virtio 1.2, 5.4): one queue of buffers that the host fills.
#pragma once

#include <memory>
#include <string>

#include "virtio/device.h"
#include "virtio/worker_thread.h"

namespace hull::virtio {

struct RngOptions {
  std::string name = "rng0";
  // At most `rate_bytes` in each period of `rate_period_ms`; 0: no limit.
  uint64_t rate_bytes = 0;
  uint32_t rate_period_ms = 1000;
};

// The bytes come from getrandom(2), at most 64 KiB per buffer whatever its size.
class RngDevice final : public VirtioDevice {
 public:
  // `worker` outlives the device.
  RngDevice(RngOptions options, WorkerThread& worker);
  ~RngDevice() override;

  std::string_view name() const override { return options_.name; }
  DeviceType type() const override { return DeviceType{4}; }
  FeatureSet device_features() const override { return {}; }
  std::span<const uint16_t> queue_max_sizes() const override;
  void read_config(uint64_t offset, std::span<uint8_t> data) const override;
  void write_config(uint64_t offset, std::span<const uint8_t> data) override;
  Result<void> activate(DeviceResources resources) override;
  void stop(std::function<void()> stopped) override;
  void pause(std::function<void()> paused) override;
  void resume() override;
  std::vector<std::optional<QueuePosition>> queue_positions() const override;

 private:
  class Session;  // one activation, on the worker
  const RngOptions options_;
  WorkerThread& worker_;
  std::shared_ptr<Session> session_;
};

}  // namespace hull::virtio
