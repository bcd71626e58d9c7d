// Where things are in the guest's physical address space and among its ports and interrupts. What
// lies below 1 MiB is firmware/x86/layout.h.
#pragma once

#include <cstdint>
#include <vector>

#include "base/guest_memory.h"
#include "base/limits.h"

namespace hull::vmm::x86 {

// RAM up to here; the rest of it starts at 4 GiB. Between lie the devices.
inline constexpr uint64_t kMmioGapStart = 0xc0000000;
inline constexpr uint64_t kMmioGapEnd = 0x100000000;

// One page for each virtio device, so that a driver's mapping holds nothing else.
inline constexpr uint64_t kVirtioMmioBase = 0xd0000000;
inline constexpr uint64_t kVirtioMmioStride = 0x1000;

inline constexpr uint64_t kIoApicBase = 0xfec00000;
inline constexpr uint64_t kLocalApicBase = 0xfee00000;
// KVM's own pages on Intel hosts: one for the identity map, three for the TSS. Below where flash
// and the local APICs are.
inline constexpr uint64_t kIdentityMapAddress = 0xfeffc000;
inline constexpr uint64_t kTssAddress = 0xfeffd000;
inline constexpr uint64_t kKvmPagesBytes = 4 * 4096;

inline constexpr uint16_t kSerialPort = 0x3f8;
inline constexpr uint32_t kSerialGsi = 4;
inline constexpr uint32_t kKeyboardGsi = 1;
inline constexpr uint32_t kClockGsi = 8;
inline constexpr uint16_t kAcpiPmPort = 0x600;
inline constexpr uint32_t kSciGsi = 9;

// Interrupts for virtio devices: first those that no ISA device has, then those of ISA devices that
// hull does not have. Edge-triggered lines cannot be shared, so this is the limit of devices.
inline constexpr uint32_t kVirtioGsis[] = {16, 17, 18, 19, 20, 21, 22, 23,
                                           5,  6,  7,  10, 11, 12, 14, 15};
inline constexpr size_t kMaxVirtioDevices = sizeof kVirtioGsis / sizeof kVirtioGsis[0];
static_assert(kMaxVirtioDevices == hull::kMaxVirtioDevices);

// `size_bytes` is a multiple of 4096 and not zero.
inline std::vector<MemoryRegion> ram_regions(uint64_t size_bytes) {
  if (size_bytes <= kMmioGapStart) return {{GuestAddress{0}, size_bytes}};
  return {{GuestAddress{0}, kMmioGapStart},
          {GuestAddress{kMmioGapEnd}, size_bytes - kMmioGapStart}};
}

}  // namespace hull::vmm::x86
