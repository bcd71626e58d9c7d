// Starting a PC by its BIOS (SeaBIOS): where its image goes, and what it is told about the machine
// by way of the firmware configuration device (devices/fw_cfg.h; the names and numbers are those
// of QEMU's docs/specs/fw_cfg.rst and of SeaBIOS's docs/Runtime_config.md).
//
// The processor starts as after a reset, at the last 16 bytes below 4 GiB.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/guest_memory.h"
#include "base/result.h"
#include "firmware/boot.h"
#include "firmware/x86/platform.h"

namespace hull::firmware {

inline constexpr uint64_t kMaxBiosBytes = uint64_t{16} << 20;

// The SeaBIOS that the host's packages bring, in the build that finds virtio-mmio devices. kHost
// with the package that has it.
Result<ImageSource> open_installed_bios();

// The region that ends at 4 GiB. kInvalidFormat unless the image can be a BIOS: whole pages, and
// not more than kMaxBiosBytes.
Result<MemoryRegion> bios_region(const ImageSource& image);

// Copies the image to that region of `memory`, and its last 128 KiB to below 1 MiB, where it begins
// to run.
Result<void> load_bios(const GuestMemory& memory, const ImageSource& image);

struct BiosConfiguration {
  std::map<uint16_t, std::vector<uint8_t>> items;
  std::map<std::string, std::vector<uint8_t>> files;
};

// Names in `source.boot_order` that the platform does not have are left out.
BiosConfiguration bios_configuration(const GuestMemory& memory, const Platform& platform,
                                     const BiosSource& source);

}  // namespace hull::firmware
