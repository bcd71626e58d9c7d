#include "firmware/x86/memory_map.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked.h"

namespace hull::firmware {

namespace {

// `holes` ascend and do not overlap each other.
void add_ram(const MemoryRegion& region, const std::vector<LayoutRange>& holes,
             std::vector<MemoryMapEntry>& entries) {
  uint64_t start = to_number(region.start);
  const uint64_t end = start + region.size_bytes;
  for (const LayoutRange& hole : holes) {
    if (hole.end <= start || hole.start >= end) continue;
    if (hole.start > start) entries.push_back({start, hole.start - start, MemoryType::kRam});
    start = std::min(hole.end, end);
  }
  if (start < end) entries.push_back({start, end - start, MemoryType::kRam});
}

}  // namespace

MemoryMap::MemoryMap(const GuestMemory& memory, const Platform& platform) {
  // Video memory and option ROMs are not there, but operating systems expect no RAM in their place.
  std::vector<LayoutRange> holes{{kLowRamEnd, kKernelMin}};
  entries_.push_back({kTables.start, kTables.size(), MemoryType::kReserved});
  for (const GuestRange& range : platform.reserved) {
    const uint64_t start = to_number(range.start);
    CHECK(start >= holes.back().end);
    holes.push_back({start, start + range.size_bytes});
    entries_.push_back({start, range.size_bytes, MemoryType::kReserved});
  }
  for (size_t i = 0; i < memory.region_count(); ++i)
    if (memory.region(i).kind == MemoryKind::kRam) add_ram(memory.region(i), holes, entries_);
  std::ranges::sort(entries_, {}, &MemoryMapEntry::start);
  CHECK(entries_.size() <= kMaxEntries);
}

bool MemoryMap::is_ram(uint64_t start, uint64_t size_bytes) const {
  return std::ranges::any_of(entries_, [&](const MemoryMapEntry& entry) {
    return entry.type == MemoryType::kRam && start >= entry.start &&
           range_fits(start - entry.start, size_bytes, entry.size_bytes);
  });
}

std::optional<uint64_t> MemoryMap::place_high(uint64_t size_bytes, uint64_t low,
                                              uint64_t high) const {
  std::optional<uint64_t> best;
  for (const MemoryMapEntry& entry : entries_) {
    if (entry.type != MemoryType::kRam) continue;
    const uint64_t first = std::max(entry.start, low);
    const uint64_t end = std::min(entry.start + entry.size_bytes, high);
    if (first >= end || size_bytes > end - first) continue;
    const uint64_t start = align_down<uint64_t>(end - size_bytes, 4096);
    if (start >= first) best = start;
  }
  return best;
}

}  // namespace hull::firmware
