// MC146818-compatible clock and CMOS memory (data sheet; memory map of the IBM PC/AT).
//
// The time is the host's plus an offset; a guest that sets it changes its own offset only. Alarm,
// periodic and update-ended events are found out when somebody looks or when the timer expires,
// which is armed only while one of them may interrupt and none waits to be read from register C:
// a guest that does not answer costs nothing.
#pragma once

#include <array>
#include <cstdint>

#include "base/mutex.h"
#include "base/state.h"
#include "devices/alarm_timer.h"
#include "devices/byte_device.h"
#include "devices/interrupt_line.h"

namespace hull::devices {

struct RtcOptions {
  int64_t offset_seconds = 0;  // from UTC; at most a century
  uint64_t memory_below_4g_bytes = 0;
  uint64_t memory_above_4g_bytes = 0;
};

// What libvirt's <clock offset='localtime'/> means at this moment.
int64_t local_time_offset_seconds();

class RtcCmos final : public ByteDevice, public Stateful {
 public:
  static constexpr uint64_t kBasePort = 0x70;
  static constexpr uint64_t kPortCount = 2;

  // The host's, unless a test brings its own.
  struct Clocks {
    int64_t (*time_of_day)();  // microseconds since 1970; may jump
    int64_t (*monotonic)();    // nanoseconds of a steady clock
  };
  static Clocks host_clocks();

  // `interrupt` and `timer` are borrowed for the life of the device.
  RtcCmos(const RtcOptions& options, InterruptLine& interrupt, AlarmTimer& timer,
          Clocks clocks = host_clocks());

  std::string_view name() const override { return "rtc"; }
  void save(StateWriter& out) const override;
  Result<void> load(StateReader& in) override;

  // The timer has expired. Any thread.
  void timer_expired();

 private:
  uint8_t read_byte(uint64_t offset) override;
  void write_byte(uint64_t offset, uint8_t value) override;

  void put(uint8_t index, uint64_t value, size_t size_bytes) REQUIRES(mutex_);
  void fill_memory_sizes(const RtcOptions& options) REQUIRES(mutex_);
  uint8_t read_register(uint8_t index) REQUIRES(mutex_);
  uint8_t read_status_a() REQUIRES(mutex_);
  uint8_t read_status_c() REQUIRES(mutex_);
  void write_register(uint8_t index, uint8_t value) REQUIRES(mutex_);
  void write_status_b(uint8_t value) REQUIRES(mutex_);

  bool is_being_set() const REQUIRES(mutex_);
  int64_t running_seconds() const REQUIRES(mutex_);  // of the guest, since 1970
  int64_t shown_seconds() const REQUIRES(mutex_);    // the same, or held for a reader
  void load_time(int64_t seconds) REQUIRES(mutex_);
  void set_time_from_registers() REQUIRES(mutex_);
  uint8_t encode(int value) const REQUIRES(mutex_);
  uint8_t encode_hour(int hour) const REQUIRES(mutex_);
  int decode(uint8_t value) const REQUIRES(mutex_);

  // Interrupts (rtc_interrupts.cc).
  void notice_events() REQUIRES(mutex_);
  bool alarm_matches(int64_t seconds) const REQUIRES(mutex_);
  int64_t period_nanoseconds() const REQUIRES(mutex_);
  void restart_period() REQUIRES(mutex_);
  void update_interrupt() REQUIRES(mutex_);
  void set_timer() REQUIRES(mutex_);

  InterruptLine& interrupt_;
  AlarmTimer& timer_;
  const Clocks clocks_;
  mutable Mutex mutex_;
  std::array<uint8_t, 128> registers_ GUARDED_BY(mutex_){};
  int64_t offset_seconds_ GUARDED_BY(mutex_);
  int64_t held_until_ GUARDED_BY(mutex_) = 0;    // monotonic
  int64_t held_seconds_ GUARDED_BY(mutex_) = 0;  // what time registers show until then
  uint8_t index_ GUARDED_BY(mutex_) = 0;

  uint8_t events_ GUARDED_BY(mutex_) = 0;  // of register C
  bool requested_ GUARDED_BY(mutex_) = false;
  bool timer_armed_ GUARDED_BY(mutex_) = false;
  int64_t noticed_seconds_ GUARDED_BY(mutex_) = 0;  // updates up to here are in events_
  int64_t period_start_ GUARDED_BY(mutex_) = 0;     // monotonic
  int64_t noticed_periods_ GUARDED_BY(mutex_) = 0;
};

}  // namespace hull::devices
