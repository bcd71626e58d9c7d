// ACPI tables (ACPI 6.5): RSDP, XSDT, FADT with full fixed hardware, FACS, MADT and a DSDT that
// names the devices which cannot be probed: virtio-mmio, serial port, clock, processors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "firmware/acpi_blobs.h"

namespace hull::firmware {

struct Platform;

// The blobs of build_acpi(), under the names by which firmware asks for them.
inline constexpr uint32_t kAcpiTablesBlob = 0;  // "etc/acpi/tables"
inline constexpr uint32_t kAcpiRsdpBlob = 1;    // "etc/acpi/rsdp"
inline constexpr size_t kRsdpBytes = 36;
inline constexpr uint32_t kAcpiTablesAlignment = 64;  // the FACS's

AcpiBlobs build_acpi(const Platform& platform);

// The DSDT with its header, but without its checksum.
std::vector<uint8_t> build_dsdt(const Platform& platform);

}  // namespace hull::firmware
