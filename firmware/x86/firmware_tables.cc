#include "firmware/x86/firmware_tables.h"

#include <array>

#include "firmware/x86/acpi.h"
#include "firmware/x86/low_memory.h"
#include "firmware/x86/mp_table.h"
#include "firmware/x86/platform.h"
#include "firmware/x86/table_area.h"

namespace hull::firmware {

namespace {

void place(AcpiBlobs acpi, TableArea& area, uint64_t rsdp) {
  const std::vector<uint8_t>& tables = acpi.blobs[kAcpiTablesBlob].bytes;
  const uint64_t address = area.reserve(tables.size(), kAcpiTablesAlignment);
  resolve(acpi, std::array{address, rsdp});
  area.put(address, tables);
  area.put(rsdp, acpi.blobs[kAcpiRsdpBlob].bytes);
}

}  // namespace

Result<uint64_t> write_firmware_tables(const GuestMemory& memory, const Platform& platform) {
  TableArea area;
  const uint64_t mp_pointer = area.reserve(kMpPointerBytes, 16);
  const uint64_t rsdp = area.reserve(kRsdpBytes, 16);
  append_mp_table(area, platform, mp_pointer);
  place(build_acpi(platform), area, rsdp);
  if (area.bytes().size() > kTables.size())
    return fail(ErrorKind::kOutOfRange, "ACPI and MP tables need {} bytes, there is room for {}",
                area.bytes().size(), kTables.size());
  low_memory(memory, kTables).copy_from(area.bytes());
  return rsdp;
}

}  // namespace hull::firmware
