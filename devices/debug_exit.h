// How a test guest ends the VM with a verdict: a little-endian write of 1 to 4 bytes to the port is
// a code, of which hull's exit status has five bits (tools/hull/exit_code.h). Added to the bus only
// when the user asked for it.
#pragma once

#include "devices/bus.h"
#include "devices/power_events.h"

namespace hull::devices {

class DebugExit final : public BusDevice {
 public:
  static constexpr uint64_t kBasePort = 0xf4;  // where QEMU's isa-debug-exit usually is
  static constexpr uint64_t kPortCount = 4;

  explicit DebugExit(PowerEvents& events) : events_(events) {}

  std::string_view name() const override { return "debug-exit"; }
  void read(uint64_t offset, std::span<uint8_t> data) override;  // zero
  void write(uint64_t offset, std::span<const uint8_t> data) override;

 private:
  PowerEvents& events_;
};

}  // namespace hull::devices
