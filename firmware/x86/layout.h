// Every address in guest RAM that firmware/ chooses, in ascending order.
//
// All of it lies below 1 MiB, so a kernel may be loaded anywhere from 1 MiB up. Each page that we
// touch costs the start-up path a page fault: what one kind of boot needs shares pages, and ranges
// that may grow are written only as far as they are used.
#pragma once

#include <cstdint>

namespace hull::firmware {

struct LayoutRange {
  uint64_t start;
  uint64_t end;  // exclusive
  constexpr uint64_t size() const { return end - start; }
};

// The first pages stay untouched: real-mode vectors and the BIOS data area, in which guests look
// for an EBDA pointer (0x40e) and must find zero.

// Linux's "zero page", for the 64-bit boot protocol.
inline constexpr LayoutRange kBootParams{0x6000, 0x7000};

// One page holds all that a PVH guest is handed, up to the start of the command line.
inline constexpr LayoutRange kGdt{0x7000, 0x7040};
inline constexpr LayoutRange kStartInfo{0x7040, 0x7080};     // struct hvm_start_info, 56 bytes
inline constexpr LayoutRange kModuleList{0x7080, 0x7100};    // at most 4 entries of 32 bytes
inline constexpr LayoutRange kPvhMemoryMap{0x7100, 0x7400};  // at most 32 entries of 24 bytes
inline constexpr LayoutRange kCommandLine{0x7400, 0x10000};  // with its NUL
inline constexpr LayoutRange kPageTables{0x10000, 0x13000};  // PML4, PDPT, PD: 1 GiB, 2 MiB pages
inline constexpr LayoutRange kDeviceTree{0x13000, 0x80000};  // struct setup_data, then the FDT
inline constexpr uint64_t kLowRamEnd = 0x9fc00;              // where an EBDA would begin
// RSDP and MP floating pointer are searched for from here (ACPI 6.5, 5.2.5.1; MP 1.4, 4.1).
inline constexpr LayoutRange kTables{0xf0000, 0x100000};
inline constexpr uint64_t kKernelMin = 0x100000;  // lowest address of a kernel byte

// What kPageTables maps one to one; the kernel and its init_size must lie below.
inline constexpr uint64_t kIdentityMapped = 1ull << 30;

static_assert(kBootParams.end <= kGdt.start && kGdt.end <= kStartInfo.start);
static_assert(kStartInfo.end <= kModuleList.start && kModuleList.end <= kPvhMemoryMap.start);
static_assert(kPvhMemoryMap.end <= kCommandLine.start && kCommandLine.end <= kPageTables.start);
static_assert(kPageTables.end <= kDeviceTree.start && kDeviceTree.end <= kLowRamEnd);
static_assert(kLowRamEnd <= kTables.start && kTables.end <= kKernelMin);
static_assert(kBootParams.size() == 4096 && kPageTables.start % 4096 == 0);

}  // namespace hull::firmware
