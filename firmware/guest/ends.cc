// The ways in which a machine ends. A way that returns has not worked.
#include "firmware/guest/block.h"
#include "firmware/guest/boot_info.h"
#include "firmware/guest/clock.h"
#include "firmware/guest/console.h"
#include "firmware/guest/cpu.h"
#include "firmware/guest/program.h"

namespace hull::guest {
namespace {

constexpr uint64_t kEndTimeoutMs = 3000;
constexpr uint16_t kSleepEnable = 1u << 13;  // PM1 control, ACPI 6.4, 4.8.3.2.1

Failure wait_for_end() {
  const Deadline deadline(kEndTimeoutMs);
  while (!deadline.passed()) pause();
  return "still running";
}

Failure power_off(const Args&) {
  const AcpiInfo& acpi = boot_info().acpi;
  if (acpi.pm1a_control_port == 0) return "no ACPI power register";
  out16(static_cast<uint16_t>(acpi.pm1a_control_port),
        static_cast<uint16_t>(kSleepEnable | ((acpi.s5_sleep_type & 7u) << 10)));
  return wait_for_end();
}

Failure acpi_reset(const Args&) {
  const AcpiInfo& acpi = boot_info().acpi;
  if (!acpi.reset_supported) return "no ACPI reset register";
  if (acpi.reset_space == 1) {
    out8(static_cast<uint16_t>(acpi.reset_address), acpi.reset_value);
  } else {
    mmio_write8(acpi.reset_address, acpi.reset_value);
  }
  return wait_for_end();
}

Failure keyboard_reset(const Args&) {
  out8(0x64, 0xfe);
  return wait_for_end();
}

Failure fault(const Args&) { triple_fault(); }

// pvpanic: bit 0 = the guest panicked.
Failure panic(const Args& args) {
  out8(static_cast<uint16_t>(args.number("port", 0x505)), 1);
  return wait_for_end();
}

Failure debug_exit(const Args& args) {
  out8(static_cast<uint16_t>(args.number("port", 0xf4)),
       static_cast<uint8_t>(args.number("code", 0)));
  return wait_for_end();
}

Failure halt(const Args&) { stop_cpu(); }

Failure hang(const Args&) {
  for (;;) pause();
}

// Resets through ACPI until it has done so times= times, then lets the next program run. The count
// is the first 8 bytes of the sector start= of the disk dev=, which the test zeroes beforehand: no
// RAM survives a reset.
Failure reboot(const Args& args) {
  BlockDevice device;
  if (Failure failure = device.open(args)) return failure;
  uint64_t words[kSectorSize / sizeof(uint64_t)];
  const uint64_t sector = args.number("start", 0);
  if (Failure failure = device.run_ok(kBlkIn, sector, words, kSectorSize)) return failure;
  Line("reboot").number("done", words[0]);
  if (words[0] >= args.number("times", 1)) return nullptr;
  words[0]++;
  if (Failure failure = device.run_ok(kBlkOut, sector, words, kSectorSize)) return failure;
  if (Failure failure = device.run_ok(kBlkFlushRequest, 0, nullptr, 0)) return failure;
  return acpi_reset(args);
}

// What works on this machine: QEMU's microvm without ACPI knows nothing gentler than a triple
// fault.
Failure automatic(const Args& args) {
  if (boot_info().acpi.pm1a_control_port != 0) return power_off(args);
  triple_fault();
}

constexpr Program kPrograms[] = {
    {"poweroff", power_off}, {"reset", acpi_reset}, {"i8042", keyboard_reset},
    {"triple-fault", fault}, {"panic", panic},      {"exit", debug_exit},
    {"reboot", reboot},      {"halt", halt},        {"hang", hang},
    {"auto", automatic},
};

}  // namespace

std::span<const Program> end_programs() { return kPrograms; }

}  // namespace hull::guest
