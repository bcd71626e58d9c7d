#include "blockcore/qcow2/mapping/host_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/endian.h"

namespace hull::blockcore::qcow2 {
namespace {

void encode_entries(std::span<const uint64_t> entries, std::byte* to) {
  for (const uint64_t entry : entries) {
    const Be64 raw = entry;
    std::memcpy(to, &raw, sizeof raw);
    to += sizeof raw;
  }
}

}  // namespace

Task<Result<void>> HostTable::read(File& file, uint64_t host_offset, uint64_t entries) {
  host_offset_ = host_offset;
  indexed_ = false;
  entries_.resize(entries);
  if (entries == 0) co_return {};
  const iovec buffer{entries_.data(), entries * 8};
  CO_TRY_VOID(co_await file.read_or_zero(host_offset, {&buffer, 1}));
  for (uint64_t& entry : entries_) entry = std::bit_cast<Be64>(entry);
  co_return {};
}

void HostTable::index_targets() const {
  targets_.clear();
  for (const uint64_t entry : entries_)
    if ((entry & kOffsetMask) != 0) ++targets_[entry & kOffsetMask];
  indexed_ = true;
}

void HostTable::replace_target(uint64_t old_entry, uint64_t new_entry) {
  if (const auto old = targets_.find(old_entry & kOffsetMask);
      old != targets_.end() && --old->second == 0)
    targets_.erase(old);
  if ((new_entry & kOffsetMask) != 0) ++targets_[new_entry & kOffsetMask];
}

std::vector<HostTable::SectorCopy> HostTable::copy_dirty() {
  std::vector<SectorCopy> copies;
  copies.reserve(dirty_sectors_.size());
  for (const uint64_t sector : dirty_sectors_) {
    const uint64_t first = sector * kEntriesPerSector;
    const uint64_t count = std::min(kEntriesPerSector, entries_.size() - first);
    SectorCopy& copy = copies.emplace_back(sector, host_offset_ + first * 8);
    copy.bytes.resize(count * 8);
    encode_entries(std::span(entries_).subspan(first, count), copy.bytes.data());
  }
  dirty_sectors_.clear();
  return copies;
}

void HostTable::mark_dirty(std::span<const SectorCopy> copies) {
  for (const SectorCopy& copy : copies) dirty_sectors_.insert(copy.sector);
}

std::vector<std::byte> HostTable::encode() const {
  std::vector<std::byte> bytes(entries_.size() * 8);
  encode_entries(entries_, bytes.data());
  return bytes;
}

Task<Result<void>> write_sectors(File& file, std::span<const HostTable::SectorCopy> copies) {
  for (const HostTable::SectorCopy& copy : copies)
    CO_TRY_VOID(co_await write_exactly(file, copy.host_offset, copy.bytes));
  co_return {};
}

}  // namespace hull::blockcore::qcow2
