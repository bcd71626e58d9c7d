// The reset control register at port 0xcf9 (as in Intel's chipsets), which the FADT names as
// RESET_REG: a write with bit 2 (RST_CPU) set resets the machine.
#pragma once

#include <atomic>

#include "base/state.h"
#include "devices/byte_device.h"
#include "devices/power_events.h"

namespace hull::devices {

class ResetPort final : public ByteDevice, public Stateful {
 public:
  static constexpr uint64_t kBasePort = 0xcf9;
  static constexpr uint64_t kPortCount = 1;
  static constexpr uint8_t kResetValue = 0x06;  // RST_CPU and SYS_RST: the FADT's RESET_VALUE

  explicit ResetPort(PowerEvents& events) : events_(events) {}

  std::string_view name() const override { return "reset"; }
  void save(StateWriter& out) const override;
  Result<void> load(StateReader& in) override;

 private:
  uint8_t read_byte(uint64_t offset) override;
  void write_byte(uint64_t offset, uint8_t value) override;

  PowerEvents& events_;
  std::atomic<uint8_t> value_{0};
};

}  // namespace hull::devices
