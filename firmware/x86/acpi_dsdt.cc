#include <algorithm>

#include "firmware/acpi_header.h"
#include "firmware/aml.h"
#include "firmware/table_bytes.h"
#include "firmware/x86/acpi.h"
#include "firmware/x86/platform.h"

namespace hull::firmware {

namespace {

void add_processors(AmlWriter& aml, const Platform& platform) {
  // _UID is the processor UID of the MADT.
  for (unsigned i = 0; i < platform.online_vcpus; ++i) {
    const auto device = aml.device(AmlNumberedName('C', i));
    aml.name_string("_HID", "ACPI0007");
    aml.name_integer("_UID", i);
  }
}

void add_virtio_mmio(AmlWriter& aml, const Platform& platform) {
  for (unsigned i = 0; i < platform.virtio_mmio.size(); ++i) {
    const VirtioMmioSlot& slot = platform.virtio_mmio[i];
    const uint64_t base = to_number(slot.base);
    CHECK(base + slot.size_bytes <= 1ull << 32);
    const auto device = aml.device(AmlNumberedName('V', i));
    aml.name_string("_HID", "LNRO0005");
    aml.name_integer("_UID", i);
    aml.name_integer("_CCA", 1);
    aml.name_resources("_CRS", AmlResources()
                                   .memory32(static_cast<uint32_t>(base), slot.size_bytes)
                                   .extended_interrupt(slot.gsi));
  }
}

void add_serial(AmlWriter& aml, const SerialPort& serial) {
  const auto device = aml.device("COM1");
  aml.name_eisa_id("_HID", "PNP0501");
  aml.name_integer("_UID", 1);
  aml.name_resources("_CRS", AmlResources().io(serial.port, 8).interrupt(serial.gsi));
}

void add_clock(AmlWriter& aml, const RealTimeClock& rtc) {
  const auto device = aml.device("RTC");
  aml.name_eisa_id("_HID", "PNP0B00");
  AmlResources resources;
  resources.io(0x70, 2);
  if (rtc.gsi != 0) resources.interrupt(rtc.gsi);
  aml.name_resources("_CRS", resources);
}

void add_keyboard_controller(AmlWriter& aml) {
  const auto device = aml.device("KBD");
  aml.name_eisa_id("_HID", "PNP0303");
  aml.name_resources("_CRS", AmlResources().io(0x60, 1).io(0x64, 1).interrupt(1));
}

void add_panic_port(AmlWriter& aml, uint16_t port) {
  const auto device = aml.device("PEVT");
  aml.name_string("_HID", "QEMU0001");
  aml.name_resources("_CRS", AmlResources().io(port, 1));
}

}  // namespace

std::vector<uint8_t> build_dsdt(const Platform& platform) {
  AmlWriter aml;
  {
    const auto system_bus = aml.scope("_SB");
    add_processors(aml, platform);
    add_virtio_mmio(aml, platform);
    if (platform.serial) add_serial(aml, *platform.serial);
    if (platform.rtc) add_clock(aml, *platform.rtc);
    if (platform.keyboard_controller) add_keyboard_controller(aml);
    if (platform.panic_port) add_panic_port(aml, *platform.panic_port);
  }
  if (platform.power) aml.name_package("_S5", {platform.power->s5_sleep_type, 0, 0, 0});

  std::vector<uint8_t> dsdt(sizeof(AcpiHeader) + aml.bytes().size());
  std::ranges::copy(aml.bytes(), dsdt.begin() + sizeof(AcpiHeader));
  // Revision 2: integers have 64 bits.
  std::ranges::copy(bytes_of(acpi_header("DSDT", dsdt.size(), 2)), dsdt.begin());
  return dsdt;
}

}  // namespace hull::firmware
