// As much of ACPI 6.4 as powers the machine off and resets it: RSDP (5.2.5), XSDT or RSDT, FADT
// (5.2.9), the \_S5 package in the DSDT (7.4.2), MADT (5.2.12). No AML is interpreted: \_S5 is
// found by its name.
#include <cstring>

#include "firmware/guest/boot_info.h"

namespace hull::guest {
namespace {

constexpr uint64_t kHeaderSize = 36;
constexpr uint64_t kMaxTable = 1 << 20;

template <class T>
T load(uint64_t address) {
  T value;
  memcpy(&value, reinterpret_cast<const void*>(address), sizeof(value));
  return value;
}

std::string_view table(uint64_t address) {
  if (address == 0) return {};
  const auto length = load<uint32_t>(address + 4);
  if (length < kHeaderSize || length > kMaxTable) return {};
  return {reinterpret_cast<const char*>(address), length};
}

template <class T>
T field(std::string_view table, uint64_t offset) {
  if (offset + sizeof(T) > table.size()) return T{};
  return load<T>(reinterpret_cast<uint64_t>(table.data()) + offset);
}

// NameOp "_S5_" PackageOp PkgLength NumElements, then SLP_TYPa: ZeroOp, OneOp or BytePrefix value.
uint8_t s5_sleep_type(std::string_view dsdt) {
  for (uint64_t i = kHeaderSize; i + 12 < dsdt.size(); i++) {
    if (std::string_view(dsdt.data() + i, 4) != "_S5_" || field<uint8_t>(dsdt, i + 4) != 0x12)
      continue;
    const uint64_t length_bytes = 1u + (field<uint8_t>(dsdt, i + 5) >> 6);
    const uint64_t element = i + 5 + length_bytes + 1;
    const auto code = field<uint8_t>(dsdt, element);
    return code == 0x0a ? field<uint8_t>(dsdt, element + 1) : code;
  }
  return 5;
}

void read_fadt(std::string_view fadt, AcpiInfo& info) {
  info.pm1a_control_port = field<uint32_t>(fadt, 64);
  if (info.pm1a_control_port == 0) info.pm1a_control_port = field<uint32_t>(fadt, 172 + 4);
  const auto extended_dsdt = field<uint64_t>(fadt, 140);
  info.s5_sleep_type =
      s5_sleep_type(table(extended_dsdt != 0 ? extended_dsdt : field<uint32_t>(fadt, 40)));
  info.reset_supported = (field<uint32_t>(fadt, 112) & (1u << 10)) != 0;
  info.reset_space = field<uint8_t>(fadt, 116);
  info.reset_address = field<uint64_t>(fadt, 120);
  info.reset_value = field<uint8_t>(fadt, 128);
}

void read_madt(std::string_view madt, AcpiInfo& info) {
  for (uint64_t at = 44; at + 2 <= madt.size();) {
    const auto type = field<uint8_t>(madt, at);
    const auto length = field<uint8_t>(madt, at + 1);
    if (length < 2) return;
    const uint64_t flags = at + (type == 9 ? 8 : 4);  // 0: local APIC, 9: local x2APIC
    if ((type == 0 || type == 9) && (field<uint32_t>(madt, flags) & 1) != 0) info.cpus++;
    at += length;
  }
}

}  // namespace

void read_acpi(uint64_t rsdp, AcpiInfo& info) {
  if (std::string_view(reinterpret_cast<const char*>(rsdp), 8) != "RSD PTR ") return;
  info.found = true;
  const bool extended = load<uint8_t>(rsdp + 15) >= 2;
  const std::string_view root =
      table(extended ? load<uint64_t>(rsdp + 24) : load<uint32_t>(rsdp + 16));
  const uint64_t width = extended ? 8 : 4;
  for (uint64_t at = kHeaderSize; at + width <= root.size(); at += width) {
    const std::string_view found =
        table(extended ? field<uint64_t>(root, at) : field<uint32_t>(root, at));
    if (found.starts_with("FACP")) read_fadt(found, info);
    if (found.starts_with("APIC")) read_madt(found, info);
  }
}

}  // namespace hull::guest
