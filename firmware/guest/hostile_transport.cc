// Attacks on the registers: odd accesses, kicks at the wrong time, writes after DRIVER_OK, resets
// while requests are under way, and random everything. Random requests may write to the disk.
#include <cstring>

#include "firmware/guest/block.h"
#include "firmware/guest/clock.h"
#include "firmware/guest/hostile.h"
#include "firmware/guest/memory.h"

namespace hull::guest {
namespace {

constexpr uint64_t kWindow = 0x200;

void touch_registers(uint64_t base, uint64_t value) {
  for (uint64_t offset = 0; offset < kWindow; offset++) {
    const uint64_t address = base + offset;
    mmio_read8(address);
    mmio_read16(address);
    mmio_read32(address);
    mmio_read64(address);
    // Right writes of whole registers are for other attacks; these are all wrong in width or
    // alignment.
    mmio_write8(address, static_cast<uint8_t>(value));
    mmio_write16(address, static_cast<uint16_t>(value));
    mmio_write64(address, value);
    if (offset % 4 != 0) mmio_write32(address, static_cast<uint32_t>(value));
  }
}

Result request_after(Victim& victim, uint32_t accepted) {
  victim.lay_chain(0, victim.good_request());
  victim.offer(0);
  return victim.watch(accepted);
}

Result odd_accesses_before(Victim& victim, uint32_t accepted, const Args&) {
  victim.reset();
  touch_registers(victim.device().address(), 0xa5a5a5a5a5a5a5a5);
  if (victim.start() != nullptr) return kRefused;
  return request_after(victim, accepted);
}

Result odd_accesses_after(Victim& victim, uint32_t accepted, const Args&) {
  if (victim.start() != nullptr) return kRefused;
  touch_registers(victim.device().address(), 0xa5a5a5a5a5a5a5a5);
  return request_after(victim, accepted);
}

Result kick_before(Victim& victim, uint32_t accepted, const Args&) {
  MmioDevice& device = victim.device();
  victim.reset();
  for (uint32_t queue : {0u, 1u, 2u, 0xffffu, 0x10000u, ~0u}) device.write(kQueueNotify, queue);
  if (victim.negotiate() != nullptr) return kRefused;
  for (uint32_t queue : {0u, 1u, 2u, 0xffffu}) device.write(kQueueNotify, queue);
  if (victim.start() != nullptr) return kRefused;
  return request_after(victim, accepted);
}

Result kick_wrong_queue(Victim& victim, uint32_t accepted, const Args&) {
  if (victim.start() != nullptr) return kRefused;
  for (uint32_t queue = 1; queue < 1000; queue += 7) victim.device().write(kQueueNotify, queue);
  victim.device().write(kQueueNotify, ~0u);
  return request_after(victim, accepted);
}

Result select_wrong_queue(Victim& victim, uint32_t, const Args&) {
  MmioDevice& device = victim.device();
  if (victim.negotiate() != nullptr) return kRefused;
  for (uint32_t queue : {8u, 1000u, 0x10000u, 0x80000000u, ~0u}) {
    device.write(kQueueSel, queue);
    device.write(kQueueNum, 16);
    device.write(kQueueDescLow, 0x1000);
    device.write(kQueueReady, 1);
    if (device.read(kQueueNumMax) != 0) return kDone;  // 4.2.2: zero for queues that are not there
  }
  return kRefused;
}

// The queue is latched at DRIVER_OK: later writes change nothing, or break the device; they never
// hang it.
Result late_registers(Victim& victim, uint32_t accepted, const Args&) {
  if (victim.start() != nullptr) return kRefused;
  MmioDevice& device = victim.device();
  device.write(kQueueSel, victim.queue_index());
  device.write(kQueueNum, 0x8000);
  for (uint32_t low : {kQueueDescLow, kQueueDriverLow, kQueueDeviceLow}) {
    device.write(low, 0xfffff000);
    device.write(low + 4, 0xffff);
  }
  device.write(kQueueReady, 1);
  return request_after(victim, accepted);
}

Result late_features(Victim& victim, uint32_t accepted, const Args&) {
  if (victim.start() != nullptr) return kRefused;
  for (uint32_t half : {0u, 1u}) {
    victim.device().write(kDriverFeaturesSel, half);
    victim.device().write(kDriverFeatures, ~0u);
  }
  return request_after(victim, accepted);
}

Result status_goes_back(Victim& victim, uint32_t accepted, const Args&) {
  if (victim.start() != nullptr) return kRefused;
  for (uint32_t status : {1u, 2u, 0x40u, 0xffu, 0x100u, 0xffffff00u})
    victim.device().write(kStatus, status);
  return request_after(victim, accepted);
}

// Many reads under way, then a reset. Once the status reads zero nothing may be written any more.
Result reset_during_io(Victim& victim, uint32_t, const Args&) {
  constexpr uint16_t kMaxRequests = 16;
  constexpr uint32_t kLength = 32 << 10;
  if (victim.start() != nullptr) return kRefused;
  uint8_t* data = victim.scratch() + 4096;
  uint16_t heads[kMaxRequests];
  const auto fitting = static_cast<uint16_t>(victim.queue().size() / 3);
  const uint16_t requests = fitting < kMaxRequests ? fitting : kMaxRequests;
  for (uint16_t i = 0; i < requests; i++) {
    std::span<Segment> request = victim.good_request();
    if (victim.is_block()) request[1] = {data + i * kLength, kLength, true};
    heads[i] = static_cast<uint16_t>(i * 3);
    victim.lay_chain(heads[i], request);
  }
  victim.offer({heads, requests});
  if (victim.reset() != nullptr) return kIgnored;
  memset(data, 0x5a, requests * kLength);
  const uint16_t used = victim.queue().used()->index;
  const Deadline deadline(50);
  while (!deadline.passed()) pause();
  if (victim.queue().used()->index != used) return kDone;
  for (uint32_t i = 0; i < requests * kLength; i++) {
    if (data[i] != 0x5a) return kDone;
  }
  return kRefused;
}

Result reset_storm(Victim& victim, uint32_t, const Args& args) {
  for (uint64_t i = 0; i < args.number("rounds", 30); i++) {
    MemoryScope scope;
    if (victim.start() != nullptr) return kIgnored;
    victim.lay_chain(0, victim.good_request());
    victim.offer(0);
    if (victim.reset() != nullptr) return kIgnored;
  }
  return kRefused;
}

// Half of the addresses inside the scratch memory, the others in nothing: never in memory of ours.
uint64_t random_address(Victim& victim, Random& random) {
  if (random.below(2) == 0)
    return reinterpret_cast<uint64_t>(victim.scratch()) + random.below(Victim::kScratchSize / 2);
  return random.below(2) == 0 ? end_of_ram() + random.below(uint64_t{1} << 40)
                              : ~random.below(1 << 20);
}

void random_descriptors(Victim& victim, Random& random) {
  for (uint16_t i = 0; i < victim.queue().size(); i++) {
    // Short enough to end inside the scratch memory, or too long for any RAM.
    const uint64_t length =
        random.below(8) == 0 ? 0xf0000000 + random.below(0x0fffffff) : random.below(4096);
    victim.queue().descriptors()[i] = {
        random_address(victim, random), static_cast<uint32_t>(length),
        static_cast<uint16_t>(random.below(8)),
        static_cast<uint16_t>(random.below(victim.queue().size() + 1u))};
  }
  // An indirect table is a buffer: fill some of the scratch memory with what may be read as
  // descriptors.
  auto* words = reinterpret_cast<uint64_t*>(victim.scratch());
  for (uint32_t i = 0; i < 4096; i += 2) {
    words[i] = random_address(victim, random);
    words[i + 1] = random.below(4096) | (random.below(8) << 32) | (random.below(64) << 48);
  }
}

Result garbage_rings(Victim& victim, uint32_t, const Args& args) {
  Random random(args.number("seed", 1));
  for (uint64_t round = 0; round < args.number("rounds", 30); round++) {
    MemoryScope scope;
    if (victim.start() != nullptr) return kIgnored;
    random_descriptors(victim, random);
    for (int i = 0; i < 8; i++)
      victim.offer(static_cast<uint16_t>(random.below(victim.queue().size())));
    if (victim.reset() != nullptr) return kIgnored;
  }
  return kRefused;
}

// Any value in any register, but for queue addresses that would be in RAM.
Result garbage_registers(Victim& victim, uint32_t, const Args& args) {
  Random random(args.number("seed", 1));
  MmioDevice& device = victim.device();
  for (uint64_t i = 0; i < args.number("rounds", 30) * 50; i++) {
    const auto offset = static_cast<uint32_t>(random.below(kWindow / 4) * 4);
    auto value = static_cast<uint32_t>(random.next() >> 32);
    if (random.below(4) == 0) value &= 0xf;
    const bool is_address = offset >= kQueueDescLow && offset <= kQueueDeviceHigh;
    if (is_address && offset % 8 == 0) value |= 0xd0000000;  // no RAM there
    device.write(offset, value);
    device.read(static_cast<uint32_t>(random.below(kWindow / 4) * 4));
  }
  return victim.reset() == nullptr ? kRefused : kIgnored;
}

constexpr Attack kAttacks[] = {
    {"odd-accesses-before", kDone, false, odd_accesses_before},
    {"odd-accesses-after", kDone | kBroken, false, odd_accesses_after},
    {"kick-before", kDone, false, kick_before},
    {"kick-wrong-queue", kDone, false, kick_wrong_queue},
    {"select-wrong-queue", kRefused, false, select_wrong_queue},
    {"late-registers", kDone | kBroken, false, late_registers},
    {"late-features", kDone | kBroken, false, late_features},
    {"status-goes-back", kDone | kBroken | kRefused | kIgnored, false, status_goes_back},
    {"reset-during-io", kRefused, false, reset_during_io},
    {"reset-storm", kRefused, false, reset_storm},
    {"garbage-rings", kRefused, false, garbage_rings},
    {"garbage-registers", kRefused, false, garbage_registers},
};

}  // namespace

std::span<const Attack> transport_attacks() { return kAttacks; }

}  // namespace hull::guest
