// Attacks on the set-up of a queue: addresses and sizes that a device must refuse.
#include "firmware/guest/hostile.h"
#include "firmware/guest/memory.h"

namespace hull::guest {
namespace {

constexpr uint32_t kRejected = kBroken | kRefused;

enum class Area : uint8_t { kDescriptors, kDriver, kDevice };

// Applies a changed set-up, starts the device, and kicks.
Result start_with(Victim& victim, const QueueSetup& setup, uint32_t accepted) {
  victim.apply(setup);
  if (victim.device().start() != nullptr) {
    return (victim.device().read(kStatus) & kNeedsReset) != 0 ? kBroken : kRefused;
  }
  victim.device().write(kQueueNotify, victim.queue_index());
  return victim.watch(accepted);
}

Result with_address(Victim& victim, Area area, uint64_t address, uint32_t accepted) {
  if (victim.negotiate() != nullptr) return kRefused;
  QueueSetup setup = victim.good_setup();
  if (area == Area::kDescriptors) setup.descriptors = address;
  if (area == Area::kDriver) setup.driver = address;
  if (area == Area::kDevice) setup.device = address;
  return start_with(victim, setup, accepted);
}

Result with_size(Victim& victim, uint32_t size, uint32_t accepted) {
  if (victim.negotiate() != nullptr) return kRefused;
  QueueSetup setup = victim.good_setup();
  setup.size = size;
  return start_with(victim, setup, accepted);
}

uint64_t outside() { return end_of_ram() + (uint64_t{1} << 30); }
uint64_t last_bytes() { return end_of_ram() - 16; }  // the area begins inside and ends outside
uint64_t unaligned(uint64_t by) { return reinterpret_cast<uint64_t>(allocate(8192)) + by; }

template <Area area>
Result area_outside(Victim& victim, uint32_t accepted, const Args&) {
  return with_address(victim, area, outside(), accepted);
}
template <Area area>
Result area_wraps(Victim& victim, uint32_t accepted, const Args&) {
  return with_address(victim, area, ~uint64_t{15}, accepted);
}
template <Area area>
Result area_straddles(Victim& victim, uint32_t accepted, const Args&) {
  return with_address(victim, area, last_bytes(), accepted);
}
template <Area area, uint64_t by>
Result area_unaligned(Victim& victim, uint32_t accepted, const Args&) {
  return with_address(victim, area, unaligned(by), accepted);
}
template <Area area>
Result area_in_registers(Victim& victim, uint32_t accepted, const Args&) {
  return with_address(victim, area, victim.device().address(), accepted);
}
template <uint32_t size>
Result size_is(Victim& victim, uint32_t accepted, const Args&) {
  return with_size(victim, size, accepted);
}

// Features that the device does not offer: FEATURES_OK must not stick (3.1.1).
Result strange_features(Victim& victim, uint32_t, const Args&) {
  MmioDevice& device = victim.device();
  victim.reset();
  device.write(kStatus, kAcknowledge);
  device.write(kStatus, kAcknowledge | kDriver);
  for (uint32_t half : {0u, 1u, 2u, ~0u}) {
    device.write(kDriverFeaturesSel, half);
    device.write(kDriverFeatures, ~0u);
  }
  device.write(kStatus, kAcknowledge | kDriver | kFeaturesOk);
  const uint32_t status = device.read(kStatus);
  if ((status & kNeedsReset) != 0) return kBroken;
  return (status & kFeaturesOk) != 0 ? kDone : kRefused;
}

// DRIVER_OK out of nothing, without features and queues.
Result start_from_nothing(Victim& victim, uint32_t accepted, const Args&) {
  MmioDevice& device = victim.device();
  victim.reset();
  device.write(kStatus, kDriverOk);
  device.write(kQueueNotify, victim.queue_index());
  return victim.watch(accepted);
}

constexpr uint32_t kWithoutQueue = kRejected | kIgnored;

constexpr Attack kAttacks[] = {
    {"desc-outside", kRejected, false, area_outside<Area::kDescriptors>},
    {"driver-outside", kRejected, false, area_outside<Area::kDriver>},
    {"device-outside", kRejected, false, area_outside<Area::kDevice>},
    {"desc-wraps", kRejected, false, area_wraps<Area::kDescriptors>},
    {"driver-wraps", kRejected, false, area_wraps<Area::kDriver>},
    {"device-wraps", kRejected, false, area_wraps<Area::kDevice>},
    {"desc-straddles", kRejected, false, area_straddles<Area::kDescriptors>},
    {"driver-straddles", kRejected, false, area_straddles<Area::kDriver>},
    {"device-straddles", kRejected, false, area_straddles<Area::kDevice>},
    {"desc-unaligned", kRejected, false, area_unaligned<Area::kDescriptors, 8>},
    {"driver-unaligned", kRejected, false, area_unaligned<Area::kDriver, 1>},
    {"device-unaligned", kRejected, false, area_unaligned<Area::kDevice, 2>},
    {"desc-in-registers", kRejected, false, area_in_registers<Area::kDescriptors>},
    {"device-in-registers", kRejected, false, area_in_registers<Area::kDevice>},
    {"size-zero", kWithoutQueue, false, size_is<0>},
    {"size-three", kRejected, false, size_is<3>},
    {"size-64k", kRejected, false, size_is<0x10000>},
    {"size-4g", kRejected, false, size_is<0xffffffff>},
    {"strange-features", kRejected, false, strange_features},
    {"start-from-nothing", kWithoutQueue, false, start_from_nothing},
};

}  // namespace

std::span<const Attack> setup_attacks() { return kAttacks; }

}  // namespace hull::guest
