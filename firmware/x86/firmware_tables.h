// ACPI and MP tables, together in one place so that few pages are touched.
#pragma once

#include <cstdint>

#include "base/guest_memory.h"
#include "base/result.h"

namespace hull::firmware {

struct Platform;

// Writes all tables into kTables and returns the address of the RSDP. kOutOfRange if the platform
// has more vCPUs and devices than there is room for.
Result<uint64_t> write_firmware_tables(const GuestMemory& memory, const Platform& platform);

}  // namespace hull::firmware
