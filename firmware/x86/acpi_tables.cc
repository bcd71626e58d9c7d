#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/checked.h"
#include "firmware/acpi_header.h"
#include "firmware/acpi_structs.h"
#include "firmware/table_bytes.h"
#include "firmware/x86/acpi.h"
#include "firmware/x86/platform.h"

namespace hull::firmware {

namespace {

// FADT flags (5.2.9, table 5.10).
constexpr uint32_t kWbinvd = 1 << 0;
constexpr uint32_t kProcC1 = 1 << 2;
constexpr uint32_t kPowerButtonIsDevice = 1 << 4;
constexpr uint32_t kSleepButtonIsDevice = 1 << 5;
constexpr uint32_t kRtcNotFixed = 1 << 6;
constexpr uint32_t kTimerHas32Bits = 1 << 8;
constexpr uint32_t kResetRegisterSupported = 1 << 10;
constexpr uint32_t kHeadless = 1 << 12;

// IAPC_BOOT_ARCH (5.2.9.3).
constexpr uint16_t kLegacyDevices = 1 << 0;
constexpr uint16_t k8042Present = 1 << 1;
constexpr uint16_t kVgaNotPresent = 1 << 2;
constexpr uint16_t kCmosClockNotPresent = 1 << 5;

constexpr uint32_t kPcatCompatible = 1;     // MADT flags
constexpr uint32_t kProcessorEnabled = 1;   // local APIC flags
constexpr uint16_t kActiveHighLevel = 0xd;  // MPS INTI flags (5.2.12.5)
constexpr uint32_t kLastXapicId = 254;

AcpiAddress io_address(uint16_t port, uint8_t bits) {
  constexpr uint8_t kSystemIo = 1;
  if (port == 0) return {};
  const uint8_t access = bits == 8 ? 1 : bits == 16 ? 2 : 3;
  return {kSystemIo, bits, 0, access, port};
}

void describe_power(const AcpiPowerBlock& power, AcpiFadt& fadt) {
  fadt.sci_int = static_cast<uint16_t>(power.sci_gsi);
  fadt.pm1a_evt_blk = power.event_port;
  fadt.pm1_evt_len = 4;
  fadt.x_pm1a_evt_blk = io_address(power.event_port, 32);
  fadt.pm1a_cnt_blk = power.control_port;
  fadt.pm1_cnt_len = 2;
  fadt.x_pm1a_cnt_blk = io_address(power.control_port, 16);
  fadt.pm_tmr_blk = power.timer_port;
  fadt.pm_tmr_len = power.timer_port == 0 ? 0 : 4;
  fadt.x_pm_tmr_blk = io_address(power.timer_port, 32);
}

uint16_t boot_architecture(const Platform& platform) {
  uint16_t flags = kVgaNotPresent;
  if (platform.serial) flags |= kLegacyDevices;
  if (platform.keyboard_controller) flags |= k8042Present;
  if (!platform.rtc) flags |= kCmosClockNotPresent;
  return flags;
}

// `facs` and `dsdt` are offsets in the blob.
AcpiFadt build_fadt(const Platform& platform, uint32_t facs, uint32_t dsdt) {
  AcpiFadt fadt{};
  fadt.header = acpi_header("FACP", sizeof fadt, 6);
  fadt.minor_version = 5;
  fadt.firmware_ctrl = facs;  // only one of the two may be set
  fadt.dsdt = dsdt;
  fadt.x_dsdt = dsdt;
  constexpr uint16_t kNoC2 = 101;  // a latency above 100 µs: not supported; 1000 for C3
  constexpr uint16_t kNoC3 = 1001;
  fadt.p_lvl2_lat = kNoC2;
  fadt.p_lvl3_lat = kNoC3;
  constexpr uint8_t kCmosCentury = 0x32;
  fadt.century = platform.rtc ? kCmosCentury : 0;
  fadt.iapc_boot_arch = boot_architecture(platform);
  uint32_t flags =
      kWbinvd | kProcC1 | kSleepButtonIsDevice | kRtcNotFixed | kTimerHas32Bits | kHeadless;
  if (platform.power)
    describe_power(*platform.power, fadt);
  else
    flags |= kPowerButtonIsDevice;
  if (platform.reset) {
    flags |= kResetRegisterSupported;
    fadt.reset_reg = io_address(platform.reset->port, 8);
    fadt.reset_value = platform.reset->value;
  }
  fadt.flags = flags;
  constexpr char kIdentity[8] = {'h', 'u', 'l', 'l'};
  std::memcpy(&fadt.hypervisor_vendor_identity, kIdentity, sizeof kIdentity);
  return fadt;
}

AcpiFacs build_facs() {
  AcpiFacs facs{};
  std::memcpy(facs.signature, "FACS", 4);
  facs.length = sizeof facs;
  facs.version = 2;
  return facs;
}

template <class T>
void add(std::vector<uint8_t>& table, const T& entry) {
  const auto bytes = bytes_of(entry);
  table.insert(table.end(), bytes.begin(), bytes.end());
}

void add_processors(std::vector<uint8_t>& madt, const Platform& platform) {
  bool any_x2apic = false;
  for (uint32_t i = 0; i < platform.apic_ids.size(); ++i) {
    const uint32_t id = platform.apic_ids[i];
    const uint32_t flags = i < platform.online_vcpus ? kProcessorEnabled : 0;
    // A UID of 255 means "all" in 8-bit entries.
    const bool x2apic = id > kLastXapicId || i > kLastXapicId;
    any_x2apic |= x2apic;
    if (x2apic)
      add(madt, MadtLocalX2Apic{.x2apic_id = id, .flags = flags, .processor_uid = i});
    else
      add(madt, MadtLocalApic{.processor_uid = static_cast<uint8_t>(i),
                              .apic_id = static_cast<uint8_t>(id),
                              .flags = flags});
  }
  add(madt, MadtLocalApicNmi{});
  if (any_x2apic) add(madt, MadtLocalX2ApicNmi{});
}

std::vector<uint8_t> build_madt(const Platform& platform) {
  std::vector<uint8_t> madt(sizeof(AcpiMadt));
  add_processors(madt, platform);
  add(madt, MadtIoApic{.io_apic_id = platform.io_apic_id,
                       .address = static_cast<uint32_t>(to_number(platform.io_apic)),
                       .gsi_base = 0});
  if (platform.timer_gsi != 0)
    add(madt, MadtInterruptOverride{.source = 0, .gsi = platform.timer_gsi, .flags = 0});
  if (platform.power) {
    const uint32_t sci = platform.power->sci_gsi;
    add(madt, MadtInterruptOverride{
                  .source = static_cast<uint8_t>(sci), .gsi = sci, .flags = kActiveHighLevel});
  }
  AcpiMadt header{};
  header.header = acpi_header("APIC", madt.size(), 5);
  header.local_apic_address = static_cast<uint32_t>(to_number(platform.local_apic));
  header.flags = kPcatCompatible;
  std::ranges::copy(bytes_of(header), madt.begin());
  return madt;
}

AcpiRsdp build_rsdp(uint32_t xsdt) {
  AcpiRsdp rsdp{};
  std::memcpy(rsdp.signature, "RSD PTR ", sizeof rsdp.signature);
  std::memcpy(rsdp.oem_id, kAcpiOemId, sizeof rsdp.oem_id);
  rsdp.revision = 2;
  rsdp.length = sizeof rsdp;
  rsdp.xsdt_address = xsdt;
  return rsdp;
}

// Collects tables in one blob, each with a checksum that is due when its pointers are known.
class Collector {
 public:
  Collector() {
    blobs_.blobs = {{.name = "etc/acpi/tables", .alignment = kAcpiTablesAlignment},
                    {.name = "etc/acpi/rsdp", .alignment = 16, .searched = true}};
  }

  // Returns the table's offset.
  uint32_t add_without_checksum(std::span<const uint8_t> table, uint32_t alignment) {
    std::vector<uint8_t>& bytes = blobs_.blobs[kAcpiTablesBlob].bytes;
    bytes.resize(align_up<size_t>(bytes.size(), alignment));
    const auto offset = static_cast<uint32_t>(bytes.size());
    bytes.insert(bytes.end(), table.begin(), table.end());
    return offset;
  }
  uint32_t add(std::span<const uint8_t> table) {
    const uint32_t offset = add_without_checksum(table, 16);
    blobs_.checksums.push_back(
        {.blob = kAcpiTablesBlob,
         .offset = offset + static_cast<uint32_t>(offsetof(AcpiHeader, checksum)),
         .start = offset,
         .length = static_cast<uint32_t>(table.size())});
    return offset;
  }
  void pointer(size_t offset, uint8_t width, uint32_t blob = kAcpiTablesBlob) {
    blobs_.pointers.push_back({.blob = blob,
                               .offset = static_cast<uint32_t>(offset),
                               .width = width,
                               .target = kAcpiTablesBlob});
  }
  // The first checksum covers what ACPI 1.0 had of it.
  AcpiBlobs finish(const AcpiRsdp& rsdp) && {
    const auto bytes = bytes_of(rsdp);
    blobs_.blobs[kAcpiRsdpBlob].bytes.assign(bytes.begin(), bytes.end());
    pointer(offsetof(AcpiRsdp, xsdt_address), 8, kAcpiRsdpBlob);
    constexpr uint32_t kAcpi1Bytes = 20;
    blobs_.checksums.push_back({kAcpiRsdpBlob, offsetof(AcpiRsdp, checksum), 0, kAcpi1Bytes});
    blobs_.checksums.push_back(
        {kAcpiRsdpBlob, offsetof(AcpiRsdp, extended_checksum), 0, sizeof rsdp});
    return std::move(blobs_);
  }

 private:
  AcpiBlobs blobs_;
};

}  // namespace

AcpiBlobs build_acpi(const Platform& platform) {
  Collector tables;
  const uint32_t facs = tables.add_without_checksum(bytes_of(build_facs()), kAcpiTablesAlignment);
  const uint32_t dsdt = tables.add(build_dsdt(platform));
  const uint32_t fadt = tables.add(bytes_of(build_fadt(platform, facs, dsdt)));
  tables.pointer(fadt + offsetof(AcpiFadt, firmware_ctrl), 4);
  tables.pointer(fadt + offsetof(AcpiFadt, dsdt), 4);
  tables.pointer(fadt + offsetof(AcpiFadt, x_dsdt), 8);
  const uint32_t madt = tables.add(build_madt(platform));

  std::vector<uint8_t> content(sizeof(AcpiHeader));
  for (const uint32_t table : {fadt, madt}) add(content, Le64(table));
  std::ranges::copy(bytes_of(acpi_header("XSDT", content.size(), 1)), content.begin());
  const uint32_t xsdt = tables.add(content);
  for (size_t entry = sizeof(AcpiHeader); entry < content.size(); entry += sizeof(Le64))
    tables.pointer(xsdt + entry, 8);
  return std::move(tables).finish(build_rsdp(xsdt));
}

}  // namespace hull::firmware
