#include "firmware/firmware_tables.h"

#include "firmware/acpi.h"
#include "firmware/low_memory.h"
#include "firmware/mp_table.h"
#include "firmware/platform.h"
#include "firmware/table_area.h"

namespace hull::firmware {

Result<uint64_t> write_firmware_tables(const GuestMemory& memory, const Platform& platform) {
  TableArea area;
  const uint64_t mp_pointer = area.reserve(kMpPointerBytes, 16);
  const uint64_t rsdp = area.reserve(kRsdpBytes, 16);
  append_mp_table(area, platform, mp_pointer);
  append_acpi_tables(area, platform, rsdp);
  if (area.bytes().size() > kTables.size())
    return fail(ErrorKind::kOutOfRange, "ACPI and MP tables need {} bytes, there is room for {}",
                area.bytes().size(), kTables.size());
  low_memory(memory, kTables).copy_from(area.bytes());
  return rsdp;
}

}  // namespace hull::firmware
