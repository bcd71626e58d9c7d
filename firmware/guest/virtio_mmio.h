// The driver's half of virtio over MMIO, version 2 (virtio 1.2, section 4.2), shared by all
// programs.
#pragma once

#include <cstdint>

#include "firmware/guest/boot_info.h"
#include "firmware/guest/cpu.h"

namespace hull::guest {

// Register offsets, 4.2.2. Names as there.
enum Register : uint32_t {
  kMagicValue = 0x000,
  kVersion = 0x004,
  kDeviceId = 0x008,
  kVendorId = 0x00c,
  kDeviceFeatures = 0x010,
  kDeviceFeaturesSel = 0x014,
  kDriverFeatures = 0x020,
  kDriverFeaturesSel = 0x024,
  kQueueSel = 0x030,
  kQueueNumMax = 0x034,
  kQueueNum = 0x038,
  kQueueReady = 0x044,
  kQueueNotify = 0x050,
  kInterruptStatus = 0x060,
  kInterruptAck = 0x064,
  kStatus = 0x070,
  kQueueDescLow = 0x080,
  kQueueDescHigh = 0x084,
  kQueueDriverLow = 0x090,
  kQueueDriverHigh = 0x094,
  kQueueDeviceLow = 0x0a0,
  kQueueDeviceHigh = 0x0a4,
  kConfigGeneration = 0x0fc,
  kConfig = 0x100,
};

// Device status bits, 2.1.
inline constexpr uint32_t kAcknowledge = 1;
inline constexpr uint32_t kDriver = 2;
inline constexpr uint32_t kDriverOk = 4;
inline constexpr uint32_t kFeaturesOk = 8;
inline constexpr uint32_t kNeedsReset = 64;
inline constexpr uint32_t kFailed = 128;

// Device ids, section 5.
inline constexpr uint32_t kNetDevice = 1;
inline constexpr uint32_t kBlockDevice = 2;
inline constexpr uint32_t kEntropyDevice = 4;

// Feature bits that every device may offer, section 6.
inline constexpr uint64_t kFeatureIndirect = uint64_t{1} << 28;
inline constexpr uint64_t kFeatureEventIdx = uint64_t{1} << 29;
inline constexpr uint64_t kFeatureVersion1 = uint64_t{1} << 32;

// One device. Reset when it goes out of scope, so that it no longer touches the memory of its
// queues.
class MmioDevice {
 public:
  MmioDevice() = default;
  ~MmioDevice();
  MmioDevice(const MmioDevice&) = delete;
  MmioDevice& operator=(const MmioDevice&) = delete;

  // The index-th device of that kind, in the order of the device tree or command line.
  Failure find(uint32_t device_id, uint64_t index);
  // Without resetting it at the end: to look only.
  void look_at(const MmioRegion& region) { region_ = region; }

  uint32_t read(uint32_t offset) const { return mmio_read32(region_.address + offset); }
  void write(uint32_t offset, uint32_t value) const {
    mmio_write32(region_.address + offset, value);
  }
  uint64_t address() const { return region_.address; }
  uint32_t gsi() const { return region_.gsi; }
  bool is_virtio() const;
  uint32_t id() const { return read(kDeviceId); }

  Failure reset() const;
  uint64_t device_features() const;
  // Reset, ACKNOWLEDGE, DRIVER, then the features out of `wanted` that the device offers,
  // FEATURES_OK. hull.noindirect and hull.noevent on the command line take their feature out of it.
  Failure negotiate(uint64_t wanted);
  bool has(uint64_t feature) const { return (features_ & feature) != 0; }
  uint64_t features() const { return features_; }
  Failure start();  // DRIVER_OK

  uint64_t config64(uint32_t offset) const;
  uint32_t config32(uint32_t offset) const { return read(kConfig + offset); }
  uint16_t config16(uint32_t offset) const {
    return mmio_read16(region_.address + kConfig + offset);
  }
  uint8_t config8(uint32_t offset) const { return mmio_read8(region_.address + kConfig + offset); }

  // Interrupts, where hull.wait asks for them.
  bool uses_interrupts() const { return vector_ != 0; }
  // Returns at the next interrupt, at once if one came since the last call, and acknowledges it.
  Failure wait_for_interrupt();

 private:
  MmioRegion region_{};
  uint64_t features_ = 0;
  uint8_t vector_ = 0;
  uint64_t interrupts_handled_ = 0;
  bool mine_ = false;
};

}  // namespace hull::guest
