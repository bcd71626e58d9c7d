// ACPI tables (ACPI 6.5): RSDP, XSDT, FADT with full fixed hardware, FACS, MADT and a DSDT that
// names the devices which cannot be probed: virtio-mmio, serial port, clock, processors.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace hull::firmware {

struct Platform;
class TableArea;

// The RSDP's place, to be reserved where the operating system searches: 16-byte aligned.
inline constexpr size_t kRsdpBytes = 36;

// Appends all tables and fills in the RSDP at `rsdp`.
void append_acpi_tables(TableArea& area, const Platform& platform, uint64_t rsdp);

// The DSDT with its header.
std::vector<uint8_t> build_dsdt(const Platform& platform);

}  // namespace hull::firmware
