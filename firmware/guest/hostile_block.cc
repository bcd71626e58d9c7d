// Block requests that are not as virtio 1.2, 5.2.6 says. The disk is only read, except by
// "write-odd".
#include <cstring>

#include "firmware/guest/block.h"
#include "firmware/guest/hostile.h"
#include "firmware/guest/memory.h"

namespace hull::guest {
namespace {

constexpr uint32_t kBad = kBroken | kError | kNoStatus;

// Starts the device, lets `change` spoil the good request (header, data, status), offers what is
// left.
template <class Change>
Result offer_changed(Victim& victim, uint32_t accepted, Change change) {
  if (victim.start(kFeatureIndirect | kFeatureEventIdx | kBlkFlush | kBlkDiscard |
                   kBlkWriteZeroes) != nullptr) {
    return kRefused;
  }
  std::span<Segment> request = victim.good_request();
  auto& header = *reinterpret_cast<BlockRequestHeader*>(victim.scratch());
  victim.lay_chain(0, change(request, header));
  victim.offer(0);
  return victim.watch(accepted);
}

std::span<Segment> first_of(std::span<Segment> request, size_t count) {
  return {request.data(), count};
}

Result no_status(Victim& victim, uint32_t accepted, const Args&) {
  return offer_changed(victim, accepted, [](auto request, auto&) { return first_of(request, 1); });
}

Result status_not_writable(Victim& victim, uint32_t accepted, const Args&) {
  return offer_changed(victim, accepted, [](auto request, auto&) {
    for (Segment& segment : request) segment.device_writes = false;
    return request;
  });
}

Result header_not_readable(Victim& victim, uint32_t accepted, const Args&) {
  return offer_changed(victim, accepted, [](auto request, auto&) {
    for (Segment& segment : request) segment.device_writes = true;
    return request;
  });
}

template <uint32_t length>
Result header_length(Victim& victim, uint32_t accepted, const Args&) {
  return offer_changed(victim, accepted, [](auto request, auto&) {
    request[0].length = length;
    return request;
  });
}

template <uint32_t length>
Result data_length(Victim& victim, uint32_t accepted, const Args&) {
  return offer_changed(victim, accepted, [](auto request, auto&) {
    request[1].length = length;
    return request;
  });
}

Result write_odd(Victim& victim, uint32_t accepted, const Args&) {
  return offer_changed(victim, accepted, [](auto request, auto& header) {
    header.type = kBlkOut;
    request[1].length = 511;
    request[1].device_writes = false;
    return request;
  });
}

Result write_from_writable(Victim& victim, uint32_t accepted, const Args&) {
  return offer_changed(victim, accepted, [](auto request, auto& header) {
    header.type = kBlkOut;
    return request;
  });
}

Result read_to_readable(Victim& victim, uint32_t accepted, const Args&) {
  return offer_changed(victim, accepted, [](auto request, auto&) {
    request[1].device_writes = false;
    return request;
  });
}

template <uint32_t type>
Result type_is(Victim& victim, uint32_t accepted, const Args&) {
  return offer_changed(victim, accepted, [](auto request, auto& header) {
    header.type = type;
    return request;
  });
}

template <uint64_t sector>
Result read_at(Victim& victim, uint32_t accepted, const Args&) {
  return offer_changed(victim, accepted, [](auto request, auto& header) {
    header.sector = sector;
    return request;
  });
}

// A discard or write-zeroes with `length` bytes of this range as its data.
Result change_range(Victim& victim, uint32_t accepted, uint32_t type, const BlockRange& range,
                    uint32_t length) {
  return offer_changed(victim, accepted, [&](auto request, auto& header) {
    header.type = type;
    memcpy(const_cast<void*>(request[1].address), &range, sizeof(range));
    request[1].length = length;
    request[1].device_writes = false;
    return request;
  });
}

Result discard_past_end(Victim& victim, uint32_t accepted, const Args&) {
  return change_range(victim, accepted, kBlkDiscardRequest, {uint64_t{1} << 60, 8, 0},
                      sizeof(BlockRange));
}
Result discard_half_range(Victim& victim, uint32_t accepted, const Args&) {
  return change_range(victim, accepted, kBlkDiscardRequest, {0, 0, 0}, 15);
}
Result zeroes_wrap(Victim& victim, uint32_t accepted, const Args&) {
  return change_range(victim, accepted, kBlkWriteZeroesRequest, {~uint64_t{0}, 8, 0},
                      sizeof(BlockRange));
}
Result zeroes_of_everything(Victim& victim, uint32_t accepted, const Args&) {
  return change_range(victim, accepted, kBlkWriteZeroesRequest, {~uint64_t{0} >> 9, ~0u, 1},
                      sizeof(BlockRange));
}
Result discard_strange_flags(Victim& victim, uint32_t accepted, const Args&) {
  return change_range(victim, accepted, kBlkDiscardRequest, {0, 8, 0xfffffffe}, sizeof(BlockRange));
}

// Almost 4 GiB, all into the same 16 MiB of memory that nobody uses.
Result read_huge(Victim& victim, uint32_t accepted, const Args&) {
  constexpr uint32_t kPieces = 254;
  constexpr uint64_t kPieceBytes = 16 << 20;
  if (victim.start() != nullptr) return kRefused;
  const std::span<Segment> request = victim.good_request();
  auto* const table = static_cast<Descriptor*>(allocate((kPieces + 2) * sizeof(Descriptor)));
  const auto put = [&](uint16_t at, uint64_t address, uint32_t length, uint16_t flags) {
    table[at] = {address, length, flags, static_cast<uint16_t>(at + 1)};
  };
  put(0, reinterpret_cast<uint64_t>(request[0].address), request[0].length, kDescriptorNext);
  for (uint16_t i = 1; i <= kPieces; i++)
    put(i, kPieceBytes, kPieceBytes, kDescriptorNext | kDescriptorWrite);
  put(kPieces + 1, reinterpret_cast<uint64_t>(request[2].address), 1, kDescriptorWrite);
  victim.queue().descriptors()[0] = {reinterpret_cast<uint64_t>(table),
                                     (kPieces + 2) * sizeof(Descriptor), kDescriptorIndirect, 0};
  victim.offer(0);
  return victim.watch(accepted);
}

constexpr Attack kAttacks[] = {
    {"blk-no-status", kBad, true, no_status},
    {"blk-status-not-writable", kBad, true, status_not_writable},
    {"blk-header-not-readable", kBad, true, header_not_readable},
    {"blk-header-short", kBad, true, header_length<8>},
    {"blk-header-long", kBad | kDone, true, header_length<512>},
    {"blk-data-odd", kBad, true, data_length<511>},
    {"blk-data-one-byte", kBad, true, data_length<1>},
    {"blk-write-odd", kBad, true, write_odd},
    {"blk-write-from-writable", kBad | kDone, true, write_from_writable},
    {"blk-read-to-readable", kBad | kDone, true, read_to_readable},
    {"blk-type-unknown", kError, true, type_is<0x7777>},
    {"blk-type-scsi", kError, true, type_is<2>},
    {"blk-read-far", kError, true, read_at<(uint64_t{1} << 60)>},
    {"blk-read-huge", kError, true, read_huge},
    {"blk-read-wraps", kError, true, read_at<~uint64_t{0}>},
    {"blk-discard-past-end", kError, true, discard_past_end},
    {"blk-discard-half-range", kBad, true, discard_half_range},
    {"blk-discard-strange-flags", kError, true, discard_strange_flags},
    {"blk-zeroes-wrap", kError, true, zeroes_wrap},
    {"blk-zeroes-everything", kError, true, zeroes_of_everything},
};

}  // namespace

std::span<const Attack> block_attacks() { return kAttacks; }

}  // namespace hull::guest
