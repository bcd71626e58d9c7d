// MC146818-compatible clock and CMOS memory (data sheet; memory map of the IBM PC/AT).
//
// The time is the host's plus an offset; a guest that sets it changes its own offset only. Alarm,
// periodic and update-ended interrupts are not delivered and register C reads as zero: guests have
// better timers, and the firmware tables say that the clock has no interrupt.
#pragma once

#include <array>
#include <cstdint>

#include "base/mutex.h"
#include "devices/byte_device.h"

namespace hull::devices {

struct RtcOptions {
  int64_t offset_seconds = 0;  // from UTC; at most a century
  uint64_t memory_below_4g_bytes = 0;
  uint64_t memory_above_4g_bytes = 0;
};

// What libvirt's <clock offset='localtime'/> means at this moment.
int64_t local_time_offset_seconds();

class RtcCmos final : public ByteDevice {
 public:
  static constexpr uint64_t kBasePort = 0x70;
  static constexpr uint64_t kPortCount = 2;

  // Microseconds since 1970; the host's CLOCK_REALTIME unless a test brings its own.
  using Clock = int64_t (*)();
  static int64_t host_clock();

  explicit RtcCmos(const RtcOptions& options, Clock clock = host_clock);

  std::string_view name() const override { return "rtc"; }

 private:
  uint8_t read_byte(uint64_t offset) override;
  void write_byte(uint64_t offset, uint8_t value) override;

  void put(uint8_t index, uint64_t value, size_t size_bytes) REQUIRES(mutex_);
  void fill_memory_sizes(const RtcOptions& options) REQUIRES(mutex_);
  uint8_t read_register(uint8_t index) REQUIRES(mutex_);
  uint8_t read_status_a() REQUIRES(mutex_);
  void write_register(uint8_t index, uint8_t value) REQUIRES(mutex_);
  void write_status_b(uint8_t value) REQUIRES(mutex_);
  int64_t guest_seconds() const REQUIRES(mutex_);
  void load_time(int64_t seconds) REQUIRES(mutex_);
  void set_time_from_registers() REQUIRES(mutex_);
  uint8_t encode(int value) const REQUIRES(mutex_);
  int decode(uint8_t value) const REQUIRES(mutex_);

  const Clock clock_;
  Mutex mutex_;
  std::array<uint8_t, 128> registers_ GUARDED_BY(mutex_){};
  int64_t offset_seconds_ GUARDED_BY(mutex_);
  int64_t held_until_ GUARDED_BY(mutex_) = 0;    // host microseconds
  int64_t held_seconds_ GUARDED_BY(mutex_) = 0;  // what time registers show until then
  uint8_t index_ GUARDED_BY(mutex_) = 0;
};

}  // namespace hull::devices
