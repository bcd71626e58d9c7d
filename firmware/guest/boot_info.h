// What the loader and the firmware tables say about this machine, read once at the start and
// copied, so that the memory they stand in may be used afterwards.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "firmware/guest/args.h"

namespace hull::guest {

struct MemoryRange {
  uint64_t address;
  uint64_t size;
  uint32_t type;  // as E820: 1 = RAM
};

// A virtio-mmio device, from the device tree or from virtio_mmio.device= on the command line.
struct MmioRegion {
  uint64_t address;
  uint64_t size;
  uint32_t gsi;  // global system interrupt
};

// What ends the machine; 0 where the tables do not say.
struct AcpiInfo {
  bool found;
  uint32_t cpus;
  uint32_t pm1a_control_port;
  uint8_t s5_sleep_type;
  bool reset_supported;
  uint8_t reset_space;  // 0 = memory, 1 = port
  uint64_t reset_address;
  uint8_t reset_value;
};

struct FdtInfo {
  bool found;
  uint32_t cpus;
};

inline constexpr size_t kMaxMemoryRanges = 32;
inline constexpr size_t kMaxMmioRegions = 64;

struct BootInfo {
  std::string_view command_line;
  MemoryRange memory[kMaxMemoryRanges];
  size_t memory_count;
  MmioRegion mmio[kMaxMmioRegions];
  size_t mmio_count;
  FdtInfo fdt;
  AcpiInfo acpi;

  std::span<const MmioRegion> mmio_regions() const { return {mmio, mmio_count}; }
  // A device that is named twice counts once.
  void add_mmio(const MmioRegion& region);
  // The value of the word "key=value" of the command line.
  std::string_view option(std::string_view key, std::string_view otherwise = "") const;
  bool has_option(std::string_view key) const { return option(key, "\n") != "\n"; }
};

const BootInfo& boot_info();
void read_boot_info();

// The readers of the two tables; each bounds everything by the sizes in the table's own header.
void read_fdt(uint64_t address, uint64_t size, BootInfo& info);
void read_acpi(uint64_t rsdp, AcpiInfo& info);

}  // namespace hull::guest
