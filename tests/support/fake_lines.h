// Interrupt lines and power events that only count what happened.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "devices/alarm_timer.h"
#include "devices/interrupt_line.h"
#include "devices/power_events.h"

namespace hull::testing {

class FakeLine final : public devices::InterruptLine {
 public:
  void trigger() override { ++edges_; }
  unsigned edges() const { return edges_; }
  // Edges since the last call.
  unsigned take_edges() { return edges_.exchange(0); }

 private:
  std::atomic<unsigned> edges_{0};
};

class FakeLevelLine final : public devices::LevelInterruptLine {
 public:
  void set(bool asserted) override {
    asserted_ = asserted;
    ++changes_;
  }
  bool asserted() const { return asserted_; }
  unsigned changes() const { return changes_; }

 private:
  std::atomic<bool> asserted_{false};
  std::atomic<unsigned> changes_{0};
};

struct FakeTimer final : devices::AlarmTimer {
  void arm(std::chrono::nanoseconds after) override { delay = after; }
  void disarm() override { delay.reset(); }

  std::optional<std::chrono::nanoseconds> delay;  // nullopt: not armed
};

struct FakePowerEvents final : devices::PowerEvents {
  void power_off() override { ++power_offs; }
  void reset() override { ++resets; }
  void guest_panicked() override { ++panics; }
  void debug_exit(uint32_t code) override { exit_code = code; }

  std::atomic<unsigned> power_offs{0};
  std::atomic<unsigned> resets{0};
  std::atomic<unsigned> panics{0};
  std::optional<uint32_t> exit_code;
};

}  // namespace hull::testing
