#include "firmware/guest/virtio_mmio.h"

#include "firmware/guest/clock.h"
#include "firmware/guest/interrupts.h"

namespace hull::guest {
namespace {

constexpr uint32_t kMagic = 0x74726976;
constexpr uint64_t kInterruptTimeoutMs = 1000;

}  // namespace

MmioDevice::~MmioDevice() {
  if (!mine_) return;
  reset();
  if (uses_interrupts()) disable_interrupt(region_.gsi);
}

bool MmioDevice::is_virtio() const { return read(kMagicValue) == kMagic && read(kVersion) == 2; }

Failure MmioDevice::find(uint32_t device_id, uint64_t index) {
  for (const MmioRegion& region : boot_info().mmio_regions()) {
    region_ = region;
    if (!is_virtio() || id() != device_id || index-- != 0) continue;
    mine_ = true;
    if (wait_mode() == WaitMode::kPoll) return nullptr;
    vector_ = enable_interrupt(region.gsi);
    interrupts_handled_ = interrupt_count(vector_);
    return nullptr;
  }
  return "no such device";
}

Failure MmioDevice::reset() const {
  write(kStatus, 0);
  const Deadline deadline(kDeviceTimeoutMs);
  while (read(kStatus) != 0) {
    if (deadline.passed()) return "the device does not reset";
  }
  return nullptr;
}

uint64_t MmioDevice::device_features() const {
  write(kDeviceFeaturesSel, 1);
  const uint64_t high = read(kDeviceFeatures);
  write(kDeviceFeaturesSel, 0);
  return (high << 32) | read(kDeviceFeatures);
}

Failure MmioDevice::negotiate(uint64_t wanted) {
  if (Failure failure = reset()) return failure;
  write(kStatus, kAcknowledge);
  write(kStatus, kAcknowledge | kDriver);
  if (boot_info().has_option("hull.noindirect")) wanted &= ~kFeatureIndirect;
  if (boot_info().has_option("hull.noevent")) wanted &= ~kFeatureEventIdx;
  features_ = device_features() & (wanted | kFeatureVersion1);
  write(kDriverFeaturesSel, 0);
  write(kDriverFeatures, static_cast<uint32_t>(features_));
  write(kDriverFeaturesSel, 1);
  write(kDriverFeatures, static_cast<uint32_t>(features_ >> 32));
  write(kStatus, kAcknowledge | kDriver | kFeaturesOk);
  if ((read(kStatus) & kFeaturesOk) == 0) return "features refused";
  return nullptr;
}

Failure MmioDevice::start() {
  write(kStatus, kAcknowledge | kDriver | kFeaturesOk | kDriverOk);
  const uint32_t status = read(kStatus);
  return (status & (kDriverOk | kNeedsReset | kFailed)) == kDriverOk ? nullptr : "not started";
}

uint64_t MmioDevice::config64(uint32_t offset) const {
  uint32_t generation;
  uint64_t value;
  do {
    generation = read(kConfigGeneration);
    value = config32(offset) | (uint64_t{config32(offset + 4)} << 32);
  } while (generation != read(kConfigGeneration));
  return value;
}

Failure MmioDevice::wait_for_interrupt() {
  const volatile uint64_t& count = interrupt_count(vector_);
  const Deadline deadline(kInterruptTimeoutMs);
  while (count == interrupts_handled_) {
    if (wait_mode() == WaitMode::kHalt) {
      wait_for_change(count, interrupts_handled_);
    } else if (deadline.passed()) {
      return "no interrupt";
    } else {
      pause();
    }
  }
  interrupts_handled_ = count;
  write(kInterruptAck, read(kInterruptStatus));
  return nullptr;
}

}  // namespace hull::guest
