// ACPI tables before anybody knows where they will lie: bytes, and what in them depends on the
// place. Whoever places them turns that into addresses: hull itself for a kernel that it loads
// (resolve), or firmware in the guest, which is handed the same as a script (to_table_loader).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hull::firmware {

// Bytes that stay together. Offsets below are from its start.
struct AcpiBlob {
  std::string name;        // at most 55 bytes; "etc/acpi/tables": as firmware asks for it
  uint32_t alignment = 1;  // a power of two
  bool searched = false;   // must lie where an operating system searches for it (the RSDP)
  std::vector<uint8_t> bytes{};
};

// The field holds an offset into `target`, to which the target's address is to be added.
struct AcpiPointer {
  uint32_t blob;
  uint32_t offset;
  uint8_t width;  // in bytes: 4 or 8, little-endian
  uint32_t target;
};

// The byte at `offset`, which is 0 until then, is what makes the sum of the range zero.
struct AcpiChecksum {
  uint32_t blob;
  uint32_t offset;
  uint32_t start;
  uint32_t length;
};

struct AcpiBlobs {
  std::vector<AcpiBlob> blobs;
  std::vector<AcpiPointer> pointers;    // first all of these
  std::vector<AcpiChecksum> checksums;  // then these, in this order
};

// Fills in all pointers and checksums. `addresses` has one for each blob; those that a pointer of
// 4 bytes leads to lie below 4 GiB.
void resolve(AcpiBlobs& blobs, std::span<const uint64_t> addresses);

// The file "etc/table-loader" of QEMU's firmware configuration device (docs/specs/fw_cfg.rst of
// QEMU; the commands: 128 bytes each, little-endian).
std::vector<uint8_t> to_table_loader(const AcpiBlobs& blobs);

}  // namespace hull::firmware
