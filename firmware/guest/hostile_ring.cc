// Attacks through the rings of a queue that was set up correctly.
#include "firmware/guest/hostile.h"
#include "firmware/guest/memory.h"

namespace hull::guest {
namespace {

constexpr uint32_t kBadAddress = kBroken | kError | kNoStatus;

uint64_t address_of(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

// Descriptor 0 as given, offered alone.
Result offer_descriptor(Victim& victim, uint32_t accepted, const Descriptor& descriptor) {
  if (victim.start() != nullptr) return kRefused;
  victim.queue().descriptors()[0] = descriptor;
  victim.offer(0);
  return victim.watch(accepted);
}

Result loop_of_one(Victim& victim, uint32_t accepted, const Args&) {
  return offer_descriptor(victim, accepted, {address_of(victim.scratch()), 16, kDescriptorNext, 0});
}

Result loop_of_all(Victim& victim, uint32_t accepted, const Args&) {
  if (victim.start() != nullptr) return kRefused;
  const uint16_t size = victim.queue().size();
  for (uint16_t i = 0; i < size; i++) {
    victim.queue().descriptors()[i] = {address_of(victim.scratch()), 16, kDescriptorNext,
                                       static_cast<uint16_t>((i + 1) % size)};
  }
  victim.offer(0);
  return victim.watch(accepted);
}

Result next_out_of_range(Victim& victim, uint32_t accepted, const Args&) {
  return offer_descriptor(victim, accepted,
                          {address_of(victim.scratch()), 16, kDescriptorNext, 0xffff});
}

Result head_out_of_range(Victim& victim, uint32_t accepted, const Args&) {
  if (victim.start() != nullptr) return kRefused;
  victim.offer(victim.queue().size());
  return victim.watch(accepted);
}

// The same head two times before the device can have answered.
Result head_twice(Victim& victim, uint32_t accepted, const Args&) {
  if (victim.start() != nullptr) return kRefused;
  victim.lay_chain(0, victim.good_request());
  const uint16_t heads[] = {0, 0};
  victim.offer(heads);
  return victim.watch(accepted);
}

template <uint32_t by>
Result index_jumps(Victim& victim, uint32_t accepted, const Args&) {
  if (victim.start() != nullptr) return kRefused;
  victim.lay_chain(0, victim.good_request());
  victim.queue().avail()->index = static_cast<uint16_t>(by);
  victim.queue().notify();
  return victim.watch(accepted);
}

// A table of `entries` descriptors in the scratch memory, and descriptor 0 for it.
Descriptor indirect_table(Victim& victim, uint32_t entries) {
  auto* table = static_cast<Descriptor*>(allocate(sizeof(Descriptor) * entries));
  for (uint32_t i = 0; i < entries; i++) {
    const bool last = i + 1 == entries;
    table[i] = {address_of(victim.scratch()), 16, last ? uint16_t{0} : kDescriptorNext,
                static_cast<uint16_t>(i + 1)};
  }
  return {address_of(table), static_cast<uint32_t>(sizeof(Descriptor) * entries),
          kDescriptorIndirect, 0};
}

Result indirect_nested(Victim& victim, uint32_t accepted, const Args&) {
  const Descriptor outer = indirect_table(victim, 1);
  *reinterpret_cast<Descriptor*>(outer.address) = indirect_table(victim, 2);
  return offer_descriptor(victim, accepted, outer);
}

Result indirect_to_itself(Victim& victim, uint32_t accepted, const Args&) {
  const Descriptor outer = indirect_table(victim, 1);
  *reinterpret_cast<Descriptor*>(outer.address) = outer;
  return offer_descriptor(victim, accepted, outer);
}

template <uint32_t length>
Result indirect_length(Victim& victim, uint32_t accepted, const Args&) {
  Descriptor outer = indirect_table(victim, 4);
  outer.length = length;
  return offer_descriptor(victim, accepted, outer);
}

Result indirect_too_long(Victim& victim, uint32_t accepted, const Args&) {
  return offer_descriptor(victim, accepted, indirect_table(victim, 4096));
}

Result indirect_and_next(Victim& victim, uint32_t accepted, const Args&) {
  Descriptor outer = indirect_table(victim, 2);
  outer.flags |= kDescriptorNext;
  outer.next = 1;
  return offer_descriptor(victim, accepted, outer);
}

Result indirect_outside(Victim& victim, uint32_t accepted, const Args&) {
  const uint64_t address = end_of_ram() + (uint64_t{1} << 30);
  return offer_descriptor(victim, accepted, {address, 32, kDescriptorIndirect, 0});
}

Result indirect_loop(Victim& victim, uint32_t accepted, const Args&) {
  const Descriptor outer = indirect_table(victim, 2);
  auto* table = reinterpret_cast<Descriptor*>(outer.address);
  table[1].flags = kDescriptorNext;
  table[1].next = 0;
  return offer_descriptor(victim, accepted, outer);
}

Result indirect_not_negotiated(Victim& victim, uint32_t accepted, const Args&) {
  if (victim.start(0) != nullptr) return kRefused;
  victim.queue().descriptors()[0] = indirect_table(victim, 2);
  victim.offer(0);
  return victim.watch(accepted);
}

// A request that is right but for the address or length of its last-but-one segment (the only one
// of small requests).
Result with_data(Victim& victim, uint32_t accepted, uint64_t address, uint32_t length) {
  if (victim.start() != nullptr) return kRefused;
  std::span<Segment> request = victim.good_request();
  Segment& data = request[request.size() / 2];
  data = {reinterpret_cast<const void*>(address), length, data.device_writes};
  victim.lay_chain(0, request);
  victim.offer(0);
  return victim.watch(accepted);
}

Result buffer_outside(Victim& victim, uint32_t accepted, const Args&) {
  return with_data(victim, accepted, end_of_ram() + (uint64_t{1} << 30), 512);
}
Result buffer_straddles(Victim& victim, uint32_t accepted, const Args&) {
  return with_data(victim, accepted, end_of_ram() - 256, 512);
}
Result buffer_wraps(Victim& victim, uint32_t accepted, const Args&) {
  return with_data(victim, accepted, ~uint64_t{255}, 512);
}
Result buffer_in_registers(Victim& victim, uint32_t accepted, const Args&) {
  return with_data(victim, accepted, victim.device().address(), 512);
}
Result buffer_of_4g(Victim& victim, uint32_t accepted, const Args&) {
  return with_data(victim, accepted, address_of(victim.scratch()), 0xffffffff);
}
Result buffer_of_nothing(Victim& victim, uint32_t accepted, const Args&) {
  return offer_descriptor(victim, accepted, {address_of(victim.scratch()), 0, 0, 0});
}

// 2.7.4.2: what the device reads stands before what it writes.
Result readable_after_writable(Victim& victim, uint32_t accepted, const Args&) {
  if (victim.start() != nullptr) return kRefused;
  const Segment mixed[] = {{victim.scratch(), 512, true}, {victim.scratch() + 512, 16, false}};
  victim.lay_chain(0, mixed);
  victim.offer(0);
  return victim.watch(accepted);
}

constexpr Attack kAttacks[] = {
    {"loop-of-one", kBroken, false, loop_of_one},
    {"loop-of-all", kBroken, false, loop_of_all},
    {"next-out-of-range", kBroken, false, next_out_of_range},
    {"head-out-of-range", kBroken, false, head_out_of_range},
    {"head-twice", kBroken | kDone, false, head_twice},
    {"index-past-queue", kBroken, false, index_jumps<65>},
    {"index-jumps-far", kBroken, false, index_jumps<0x8000>},
    {"index-goes-back", kBroken, false, index_jumps<0xffff>},
    {"indirect-nested", kBroken, false, indirect_nested},
    {"indirect-to-itself", kBroken, false, indirect_to_itself},
    {"indirect-length-zero", kBroken, false, indirect_length<0>},
    {"indirect-length-odd", kBroken, false, indirect_length<17>},
    {"indirect-length-short", kBroken, false, indirect_length<16>},
    {"indirect-length-4g", kBroken, false, indirect_length<0xfffffff0>},
    {"indirect-too-long", kBroken, false, indirect_too_long},
    {"indirect-and-next", kBroken, false, indirect_and_next},
    {"indirect-outside", kBroken, false, indirect_outside},
    {"indirect-loop", kBroken, false, indirect_loop},
    {"indirect-not-negotiated", kBroken, false, indirect_not_negotiated},
    {"buffer-outside", kBadAddress, false, buffer_outside},
    {"buffer-straddles", kBadAddress, false, buffer_straddles},
    {"buffer-wraps", kBadAddress, false, buffer_wraps},
    {"buffer-in-registers", kBadAddress, false, buffer_in_registers},
    {"buffer-of-4g", kBadAddress, false, buffer_of_4g},
    {"buffer-of-nothing", kAnyResult & ~uint32_t{kIgnored}, false, buffer_of_nothing},
    {"readable-after-writable", kBroken, false, readable_after_writable},
};

}  // namespace

std::span<const Attack> ring_attacks() { return kAttacks; }

}  // namespace hull::guest
