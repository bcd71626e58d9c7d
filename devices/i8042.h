// The PC's keyboard controller with a keyboard that nobody types on, and no mouse.
//
// Guests use it to reset the machine (command 0xfe, or bit 0 of the output port). It answers every
// command and every keyboard byte at once, so that a driver's probe never waits for a time-out.
#pragma once

#include <array>
#include <cstdint>

#include "base/mutex.h"
#include "base/state.h"
#include "devices/byte_device.h"
#include "devices/interrupt_line.h"
#include "devices/power_events.h"

namespace hull::devices {

class I8042 final : public ByteDevice, public Stateful {
 public:
  // Ports 0x60 to 0x64; 1 to 3 are not ours and read as 0xff (port 0x61 belongs to the PIT).
  static constexpr uint64_t kBasePort = 0x60;
  static constexpr uint64_t kPortCount = 5;

  // Both are borrowed for the life of the device.
  I8042(PowerEvents& events, InterruptLine& keyboard_interrupt)
      : events_(events), keyboard_interrupt_(keyboard_interrupt) {}

  std::string_view name() const override { return "i8042"; }
  void save(StateWriter& out) const override;
  Result<void> load(StateReader& in) override;

 private:
  uint8_t read_byte(uint64_t offset) override;
  void write_byte(uint64_t offset, uint8_t value) override;

  uint8_t status() const REQUIRES(mutex_);
  uint8_t read_data() REQUIRES(mutex_);
  void write_command(uint8_t command) REQUIRES(mutex_);
  void write_data(uint8_t value) REQUIRES(mutex_);
  void write_to_keyboard(uint8_t value) REQUIRES(mutex_);
  void respond(uint8_t value) REQUIRES(mutex_);  // the controller
  void answer(uint8_t value) REQUIRES(mutex_);   // the keyboard
  void interrupt_if_full() REQUIRES(mutex_);

  PowerEvents& events_;
  InterruptLine& keyboard_interrupt_;
  mutable Mutex mutex_;
  // Bytes for the guest; one that never reads them loses the newest.
  static constexpr size_t kOutputBytes = 16;
  std::array<uint8_t, kOutputBytes> output_ GUARDED_BY(mutex_){};
  size_t output_count_ GUARDED_BY(mutex_) = 0;
  uint8_t configuration_ GUARDED_BY(mutex_) = 0x70;  // both ports disabled, translation on
  uint8_t output_port_ GUARDED_BY(mutex_) = 0x03;    // reset line inactive, A20 on
  uint8_t parameter_of_ GUARDED_BY(mutex_) = 0;      // command that waits for a data byte
  uint8_t keyboard_parameter_of_ GUARDED_BY(mutex_) = 0;
  uint8_t last_data_ GUARDED_BY(mutex_) = 0;
  bool self_tested_ GUARDED_BY(mutex_) = false;
  bool last_write_was_command_ GUARDED_BY(mutex_) = false;
};

}  // namespace hull::devices
