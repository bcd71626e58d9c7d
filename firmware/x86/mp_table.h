// Intel MultiProcessor Specification 1.4, chapter 4: for kernels that do not read ACPI.
#pragma once

#include <cstddef>
#include <cstdint>

namespace hull::firmware {

struct Platform;
class TableArea;

// The floating pointer's place, to be reserved where the operating system searches: 16-byte
// aligned.
inline constexpr size_t kMpPointerBytes = 16;

// Appends the configuration table and fills in the floating pointer at `pointer`. Lists only vCPUs
// whose APIC id fits the table's 8 bits.
void append_mp_table(TableArea& area, const Platform& platform, uint64_t pointer);

}  // namespace hull::firmware
