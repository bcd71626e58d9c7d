// Virtio block device (virtio 1.2, 5.2) in front of a blockcore::Disk.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "blockcore/disk.h"
#include "blockcore/engine/io_engine.h"
#include "virtio/block_request.h"
#include "virtio/device.h"

namespace hull::virtio {

struct BlockOptions {
  std::string name = "vda";
  std::string serial = {};             // at most 20 bytes, longer ones are cut
  bool read_only = false;              // or the disk is: then writes fail whatever was negotiated
  bool discard = false;                // offer DISCARD, and let WRITE_ZEROES give space back
  uint16_t queue_size = 256;           // a power of two, 4 to 1024
  uint32_t logical_block_size = 512;   // bytes, powers of two
  uint32_t physical_block_size = 512;  // bytes, at least the logical one
  // Told of each request that the disk has failed, as often as the guest tries. On the engine's
  // thread; must not wait. May be empty.
  std::function<void(const Error&)> on_error = {};
};

class BlockSession;

// Requests run as coroutines on the engine's thread, any number at a time. Without FLUSH in the
// negotiated features each write is made durable before it completes (5.2.6.2).
class BlockDevice final : public VirtioDevice {
 public:
  // `disk` and `engine` outlive the device; the engine's thread runs until the device has stopped.
  BlockDevice(BlockOptions options, blockcore::Disk& disk, blockcore::IoEngine& engine);
  ~BlockDevice() override;

  std::string_view name() const override { return options_.name; }
  DeviceType type() const override { return DeviceType{2}; }
  FeatureSet device_features() const override;
  std::span<const uint16_t> queue_max_sizes() const override { return {&options_.queue_size, 1}; }
  void read_config(uint64_t offset, std::span<uint8_t> data) const override;
  void write_config(uint64_t offset, std::span<const uint8_t> data) override;
  Result<void> activate(DeviceResources resources) override;
  void stop(std::function<void()> stopped) override;
  void abandon() override;
  void pause(std::function<void()> paused) override;
  void resume() override;
  std::vector<std::optional<QueuePosition>> queue_positions() const override;

 private:
  // What the disk says about itself, which vCPU threads may not ask it: constant.
  struct Geometry {
    uint64_t capacity_sectors;  // the last bytes of a size that is no multiple of 512 are left out
    bool read_only;
    bool can_discard;
    uint32_t discard_granularity;  // bytes
  };
  BlockLimits limits(FeatureSet features) const;

  const BlockOptions options_;
  const Geometry geometry_;
  blockcore::Disk& disk_;
  blockcore::IoEngine& engine_;
  std::shared_ptr<BlockSession> session_;  // one activation
};

}  // namespace hull::virtio
