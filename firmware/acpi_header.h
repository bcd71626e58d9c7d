// The header that all ACPI tables but RSDP and FACS begin with (ACPI 6.5, 5.2.6).
#pragma once

#include <cstring>

#include "firmware/acpi_structs.h"

namespace hull::firmware {

inline constexpr char kAcpiOemId[7] = "HULL  ";

inline AcpiHeader acpi_header(const char (&signature)[5], size_t length, uint8_t revision) {
  AcpiHeader header{};
  std::memcpy(header.signature, signature, sizeof header.signature);
  header.length = static_cast<uint32_t>(length);
  header.revision = revision;
  std::memcpy(header.oem_id, kAcpiOemId, sizeof header.oem_id);
  std::memcpy(header.oem_table_id, "HULLVM  ", sizeof header.oem_table_id);
  header.oem_revision = 1;
  std::memcpy(header.creator_id, "HULL", sizeof header.creator_id);
  header.creator_revision = 1;
  return header;
}

}  // namespace hull::firmware
