// Which guest-physical ranges an operating system may use: the source of e820, of PVH's memory map
// and of every decision where a kernel or initrd may lie.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/guest_memory.h"
#include "firmware/x86/layout.h"
#include "firmware/x86/platform.h"

namespace hull::firmware {

// The numbers are those of e820 and of hvm_memmap_table_entry.
enum class MemoryType : uint32_t { kRam = 1, kReserved = 2 };

struct MemoryMapEntry {
  uint64_t start;
  uint64_t size_bytes;
  MemoryType type;
};

class MemoryMap {
 public:
  // RAM regions less the hole below 1 MiB and the platform's reserved ranges. More than
  // kMaxEntries is our bug.
  MemoryMap(const GuestMemory& memory, const Platform& platform);

  static constexpr size_t kMaxEntries = 32;

  const std::vector<MemoryMapEntry>& entries() const { return entries_; }  // ascending

  // All of [start, start + size) may be used.
  bool is_ram(uint64_t start, uint64_t size_bytes) const;

  // The highest page-aligned place for `size_bytes` inside [low, high), nullopt if there is none.
  std::optional<uint64_t> place_high(uint64_t size_bytes, uint64_t low, uint64_t high) const;

 private:
  std::vector<MemoryMapEntry> entries_;
};

}  // namespace hull::firmware
