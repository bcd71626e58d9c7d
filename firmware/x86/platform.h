// The machine as firmware tables describe it: filled by vmm/ from what it really built, read here.
//
// Plain data, constant while load_boot() runs. ACPI, the MP table and the device tree all come from
// this one struct, so a guest finds the same devices whichever it reads. RAM is not in here: it is
// read from GuestMemory. ISA interrupt numbers are GSIs (identity) but for the timer.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/guest_memory.h"
#include "base/limits.h"

namespace hull::firmware {

// More than any guest can use with one I/O APIC; bounds the tables.
inline constexpr size_t kMaxVirtioMmioSlots = 256;

// Of the one I/O APIC that KVM emulates.
inline constexpr uint32_t kIoApicPins = 24;

struct VirtioMmioSlot {
  GuestAddress base;            // below 4 GiB
  uint32_t size_bytes = 0x200;  // of the register window
  uint32_t gsi = 0;             // edge-triggered, active high, not shared
  std::string name;             // "vda", "net0": for people, in the device tree's labels
};

// 16550A at `port` (8 ports), edge-triggered.
struct SerialPort {
  uint16_t port = 0x3f8;
  uint32_t gsi = 4;
};

// ACPI fixed hardware (ACPI 6.5, 4.8.3). hull has no SMI: SCI_EN always reads as set.
struct AcpiPowerBlock {
  uint16_t event_port = 0x600;    // PM1a_EVT_BLK: status and enable, 4 bytes
  uint16_t control_port = 0x604;  // PM1a_CNT_BLK: 2 bytes
  uint16_t timer_port = 0;        // PM_TMR_BLK: 32 bits at 3.579545 MHz; 0: none
  uint32_t sci_gsi = 9;           // level-triggered, active high
  uint8_t s5_sleep_type = 5;      // SLP_TYP that means "off", 0 to 7
};

// Writing `value` to `port` resets the machine (FADT RESET_REG).
struct ResetRegister {
  uint16_t port = 0xcf9;
  uint8_t value = 0x06;
};

// MC146818-compatible clock at 0x70 and 0x71, the century at index 0x32.
struct RealTimeClock {
  uint32_t gsi = 0;  // 8 where the device raises interrupts; 0: it does not
};

struct Platform {
  // Local APIC ids of all possible vCPUs in vCPU order: 1 to kMaxVcpus, ascending, the boot CPU
  // first. The first `online_vcpus` of them run; the others are listed as disabled.
  std::vector<uint32_t> apic_ids;
  unsigned online_vcpus = 1;

  std::vector<VirtioMmioSlot> virtio_mmio;
  // Absent unless somebody has built it: tables never name what is not there.
  std::optional<SerialPort> serial;
  std::optional<AcpiPowerBlock> power;
  std::optional<ResetRegister> reset;
  std::optional<RealTimeClock> rtc;
  // A whole PS/2 keyboard controller. An i8042 that only resets is not described at all: a driver
  // would spend its time-outs on it.
  bool keyboard_controller = false;
  std::optional<uint16_t> panic_port;  // pvpanic, one port, usually 0x505

  GuestAddress local_apic{0xfee00000};
  GuestAddress io_apic{0xfec00000};
  uint8_t io_apic_id = 0;
  // I/O APIC pin of ISA IRQ 0 (the PIT). 2 needs a matching KVM GSI routing; 0 is KVM's default.
  uint32_t timer_gsi = 2;

  // Guest-physical ranges that no operating system may use, e.g. KVM's TSS and identity-map pages.
  // Ascending, page-aligned, not overlapping; inside or outside RAM.
  std::vector<GuestRange> reserved;
};

}  // namespace hull::firmware
