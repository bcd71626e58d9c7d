// ACPI 6.5 tables byte by byte. Field names are the specification's.
#pragma once

#include <cstdint>
#include <type_traits>

#include "base/endian.h"

namespace hull::firmware {

struct AcpiHeader {
  char signature[4];      // 0
  Le32 length;            // 4
  uint8_t revision;       // 8
  uint8_t checksum;       // 9
  char oem_id[6];         // 10
  char oem_table_id[8];   // 16
  Le32 oem_revision;      // 24
  char creator_id[4];     // 28
  Le32 creator_revision;  // 32
};
static_assert(sizeof(AcpiHeader) == 36);

// 5.2.5.3
struct AcpiRsdp {
  char signature[8];
  uint8_t checksum;  // of the first 20 bytes
  char oem_id[6];
  uint8_t revision;
  Le32 rsdt_address;
  Le32 length;
  Le64 xsdt_address;
  uint8_t extended_checksum;
  uint8_t reserved[3];
};
static_assert(sizeof(AcpiRsdp) == 36);

// 5.2.3.2, Generic Address Structure
struct AcpiAddress {
  uint8_t address_space_id;
  uint8_t register_bit_width;
  uint8_t register_bit_offset;
  uint8_t access_size;
  Le64 address;
};
static_assert(sizeof(AcpiAddress) == 12);

// 5.2.9
struct AcpiFadt {
  AcpiHeader header;
  Le32 firmware_ctrl;   // 36
  Le32 dsdt;            // 40
  uint8_t reserved_44;  // 44
  uint8_t preferred_pm_profile;
  Le16 sci_int;  // 46
  Le32 smi_cmd;  // 48
  uint8_t acpi_enable;
  uint8_t acpi_disable;
  uint8_t s4bios_req;
  uint8_t pstate_cnt;
  Le32 pm1a_evt_blk;  // 56
  Le32 pm1b_evt_blk;
  Le32 pm1a_cnt_blk;  // 64
  Le32 pm1b_cnt_blk;
  Le32 pm2_cnt_blk;
  Le32 pm_tmr_blk;  // 76
  Le32 gpe0_blk;
  Le32 gpe1_blk;
  uint8_t pm1_evt_len;  // 88
  uint8_t pm1_cnt_len;
  uint8_t pm2_cnt_len;
  uint8_t pm_tmr_len;
  uint8_t gpe0_blk_len;
  uint8_t gpe1_blk_len;
  uint8_t gpe1_base;
  uint8_t cst_cnt;
  Le16 p_lvl2_lat;  // 96
  Le16 p_lvl3_lat;
  Le16 flush_size;
  Le16 flush_stride;
  uint8_t duty_offset;  // 104
  uint8_t duty_width;
  uint8_t day_alrm;
  uint8_t mon_alrm;
  uint8_t century;      // 108
  Le16 iapc_boot_arch;  // 109
  uint8_t reserved_111;
  Le32 flags;             // 112
  AcpiAddress reset_reg;  // 116
  uint8_t reset_value;    // 128
  Le16 arm_boot_arch;
  uint8_t minor_version;       // 131
  Le64 x_firmware_ctrl;        // 132
  Le64 x_dsdt;                 // 140
  AcpiAddress x_pm1a_evt_blk;  // 148
  AcpiAddress x_pm1b_evt_blk;
  AcpiAddress x_pm1a_cnt_blk;  // 172
  AcpiAddress x_pm1b_cnt_blk;
  AcpiAddress x_pm2_cnt_blk;
  AcpiAddress x_pm_tmr_blk;  // 208
  AcpiAddress x_gpe0_blk;
  AcpiAddress x_gpe1_blk;
  AcpiAddress sleep_control_reg;
  AcpiAddress sleep_status_reg;
  Le64 hypervisor_vendor_identity;  // 268
};
static_assert(sizeof(AcpiFadt) == 276);

// 5.2.10
struct AcpiFacs {
  char signature[4];
  Le32 length;
  Le32 hardware_signature;
  Le32 firmware_waking_vector;
  Le32 global_lock;
  Le32 flags;
  Le64 x_firmware_waking_vector;
  uint8_t version;
  uint8_t reserved[3];
  Le32 ospm_flags;
  uint8_t reserved_40[24];
};
static_assert(sizeof(AcpiFacs) == 64);

// 5.2.12
struct AcpiMadt {
  AcpiHeader header;
  Le32 local_apic_address;
  Le32 flags;
};
static_assert(sizeof(AcpiMadt) == 44);

struct MadtLocalApic {
  uint8_t type = 0;
  uint8_t length = 8;
  uint8_t processor_uid;
  uint8_t apic_id;
  Le32 flags;
};
static_assert(sizeof(MadtLocalApic) == 8);

struct MadtLocalX2Apic {
  uint8_t type = 9;
  uint8_t length = 16;
  Le16 reserved = 0;
  Le32 x2apic_id;
  Le32 flags;
  Le32 processor_uid;
};
static_assert(sizeof(MadtLocalX2Apic) == 16);

struct MadtIoApic {
  uint8_t type = 1;
  uint8_t length = 12;
  uint8_t io_apic_id;
  uint8_t reserved = 0;
  Le32 address;
  Le32 gsi_base;
};
static_assert(sizeof(MadtIoApic) == 12);

struct MadtInterruptOverride {
  uint8_t type = 2;
  uint8_t length = 10;
  uint8_t bus = 0;  // ISA
  uint8_t source;
  Le32 gsi;
  Le16 flags;
};
static_assert(sizeof(MadtInterruptOverride) == 10);

struct MadtLocalApicNmi {
  uint8_t type = 4;
  uint8_t length = 6;
  uint8_t processor_uid = 0xff;  // all
  Le16 flags = 0;
  uint8_t lint = 1;
};
static_assert(sizeof(MadtLocalApicNmi) == 6);

struct MadtLocalX2ApicNmi {
  uint8_t type = 10;
  uint8_t length = 12;
  Le16 flags = 0;
  Le32 processor_uid = 0xffffffff;  // all
  uint8_t lint = 1;
  uint8_t reserved[3] = {};
};
static_assert(sizeof(MadtLocalX2ApicNmi) == 12);

}  // namespace hull::firmware
