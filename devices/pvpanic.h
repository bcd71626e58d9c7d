// The paravirtual panic port (QEMU docs/specs/pvpanic): a read tells which events are known, a
// write reports one. Linux finds it through ACPI as QEMU0001.
#pragma once

#include "devices/byte_device.h"
#include "devices/power_events.h"

namespace hull::devices {

class Pvpanic final : public ByteDevice {
 public:
  static constexpr uint64_t kBasePort = 0x505;
  static constexpr uint64_t kPortCount = 1;
  static constexpr uint8_t kPanicked = 0x01;
  static constexpr uint8_t kCrashLoaded = 0x02;  // a crash kernel takes over

  explicit Pvpanic(PowerEvents& events) : events_(events) {}

  std::string_view name() const override { return "pvpanic"; }

 private:
  uint8_t read_byte(uint64_t offset) override;
  void write_byte(uint64_t offset, uint8_t value) override;

  PowerEvents& events_;
};

}  // namespace hull::devices
