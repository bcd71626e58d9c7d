// ACPI fixed hardware (ACPI 6.5, section 4.8): PM1a event and control registers, the power button,
// soft-off, and the power management timer.
//
// There is no system management mode, so the FADT has no SMI_CMD and PM1_CNT.SCI_EN always reads as
// one. Of the events only the power button exists; TMR_STS is never set (no guest that has this
// device uses the carry interrupt).
#pragma once

#include <array>
#include <cstdint>

#include "base/mutex.h"
#include "base/state.h"
#include "devices/bus.h"
#include "devices/interrupt_line.h"
#include "devices/power_events.h"

namespace hull::devices {

class AcpiPm final : public BusDevice, public Stateful {
 public:
  // Layout of the block of ports.
  static constexpr uint64_t kEventOffset = 0;    // PM1a_EVT_BLK: status and enable, 2 bytes each
  static constexpr uint64_t kControlOffset = 4;  // PM1a_CNT_BLK: 2 bytes
  static constexpr uint64_t kTimerOffset = 8;    // PM_TMR_BLK: 4 bytes, all 32 bits count
  static constexpr uint64_t kPortCount = 12;
  static constexpr uint8_t kSleepTypeS5 = 5;  // SLP_TYP of \_S5 in the DSDT

  // Nanoseconds of a steady clock; the host's CLOCK_MONOTONIC unless a test brings its own.
  using Clock = uint64_t (*)();
  static uint64_t host_clock();

  // Both are borrowed for the life of the device.
  AcpiPm(PowerEvents& events, LevelInterruptLine& sci, Clock clock = host_clock);

  std::string_view name() const override { return "acpi-pm"; }
  void read(uint64_t offset, std::span<uint8_t> data) override;
  void write(uint64_t offset, std::span<const uint8_t> data) override;

  void save(StateWriter& out) const override;
  Result<void> load(StateReader& in) override;

  // Any thread. What the guest does about it is the guest's choice.
  void press_power_button();

 private:
  std::array<uint8_t, kPortCount> registers() const REQUIRES(mutex_);
  uint64_t elapsed_nanoseconds() const REQUIRES(mutex_);
  uint32_t timer_value() const REQUIRES(mutex_);
  void write_byte(uint64_t offset, uint8_t value) REQUIRES(mutex_);
  void write_control_high(uint8_t value) REQUIRES(mutex_);
  void update_sci() REQUIRES(mutex_);

  PowerEvents& events_;
  LevelInterruptLine& sci_;
  const Clock clock_;
  mutable Mutex mutex_;
  uint64_t start_nanoseconds_ GUARDED_BY(mutex_);  // may wrap: when the timer was 0
  uint16_t status_ GUARDED_BY(mutex_) = 0;
  uint16_t enable_ GUARDED_BY(mutex_) = 0;
  uint16_t control_ GUARDED_BY(mutex_) = 0;
  bool sci_asserted_ GUARDED_BY(mutex_) = false;
};

}  // namespace hull::devices
