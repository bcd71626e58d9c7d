#include "devices/rtc_cmos.h"

#include <time.h>

#include <algorithm>
#include <chrono>

#include "devices/rtc_registers.h"

namespace hull::devices {

using namespace rtc;

namespace {

constexpr uint64_t kIndexPort = 0;
constexpr uint64_t kRtcDataPort = 1;

// Data sheet: after UIP reads as 0 at least this long is left before the next update.
constexpr int64_t kUpdateMicroseconds = 244;
// How long the time stands still for a reader that has seen UIP clear.
constexpr int64_t kHoldNanoseconds = 50'000'000;
constexpr int64_t kMicroseconds = 1'000'000;
constexpr int64_t kMaxOffset = int64_t{100} * 366 * 24 * 3600;  // a century

bool is_time(uint8_t index) {
  return index == kSeconds || index == kMinutes || index == kHours || index == kDayOfWeek ||
         index == kDayOfMonth || index == kMonth || index == kYear || index == kCentury;
}

int64_t nanoseconds_of(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

int64_t local_time_offset_seconds() {
  const time_t now = time(nullptr);
  tm local{};
  return localtime_r(&now, &local) == nullptr ? 0 : local.tm_gmtoff;
}

RtcCmos::Clocks RtcCmos::host_clocks() {
  return {.time_of_day = [] { return nanoseconds_of(CLOCK_REALTIME) / 1000; },
          .monotonic = [] { return nanoseconds_of(CLOCK_MONOTONIC); }};
}

RtcCmos::RtcCmos(const RtcOptions& options, InterruptLine& interrupt, AlarmTimer& timer,
                 Clocks clocks)
    : interrupt_(interrupt),
      timer_(timer),
      clocks_(clocks),
      offset_seconds_(std::clamp(options.offset_seconds, -kMaxOffset, kMaxOffset)) {
  MutexLock lock(mutex_);
  registers_[kStatusA] = 0x26;  // 32.768 kHz time base, 1024 Hz
  registers_[kStatusB] = k24Hours;
  registers_[kStatusD] = kValid;
  fill_memory_sizes(options);
  noticed_seconds_ = running_seconds();
  restart_period();
}

// Little-endian, as much of the value as the field can say.
void RtcCmos::put(uint8_t index, uint64_t value, size_t size_bytes) {
  value = std::min(value, (uint64_t{1} << (8 * size_bytes)) - 1);
  for (size_t i = 0; i < size_bytes; ++i) {
    registers_[index + i] = static_cast<uint8_t>(value);
    value >>= 8;
  }
}

// The fields that BIOSes and old systems read (IBM PC/AT and its usual extensions).
void RtcCmos::fill_memory_sizes(const RtcOptions& options) {
  const uint64_t below = options.memory_below_4g_bytes;
  const uint64_t above_1m = below > (1u << 20) ? below - (1u << 20) : 0;
  const uint64_t above_16m = below > (1u << 24) ? below - (1u << 24) : 0;
  put(0x14, 0x06, 1);  // equipment: x87, PS/2 port
  put(0x15, 640, 2);
  put(0x17, above_1m >> 10, 2);
  put(0x30, above_1m >> 10, 2);
  put(0x34, above_16m >> 16, 2);
  put(0x5b, options.memory_above_4g_bytes >> 16, 3);
  unsigned sum = 0;
  for (size_t i = 0x10; i < 0x2e; ++i) sum += registers_[i];
  registers_[0x2e] = static_cast<uint8_t>(sum >> 8);  // the only big-endian field
  registers_[0x2f] = static_cast<uint8_t>(sum);
}

uint8_t RtcCmos::read_byte(uint64_t offset) {
  MutexLock lock(mutex_);
  if (offset == kIndexPort) return index_;
  return offset == kRtcDataPort ? read_register(index_) : 0xff;
}

void RtcCmos::write_byte(uint64_t offset, uint8_t value) {
  MutexLock lock(mutex_);
  if (offset == kIndexPort) index_ = value & 0x7f;  // bit 7 masks NMIs, of which there are none
  if (offset == kRtcDataPort) write_register(index_, value);
}

uint8_t RtcCmos::read_register(uint8_t index) {
  if (index == kStatusA) return read_status_a();
  if (index == kStatusC) return read_status_c();
  if (is_time(index) && !is_being_set()) load_time(shown_seconds());
  return registers_[index];
}

// A guest looks at UIP and then reads the registers one by one, each an exit. The time is held for
// it, so that no second passes in between. By a steady clock: the host's time may be set back.
uint8_t RtcCmos::read_status_a() {
  const uint8_t value = registers_[kStatusA];
  if (is_being_set()) return value;
  held_until_ = 0;
  if (clocks_.time_of_day() % kMicroseconds >= kMicroseconds - kUpdateMicroseconds)
    return value | kUpdateInProgress;
  held_seconds_ = running_seconds();
  held_until_ = clocks_.monotonic() + kHoldNanoseconds;
  return value;
}

void RtcCmos::write_register(uint8_t index, uint8_t value) {
  if (index == kStatusC || index == kStatusD) return;
  notice_events();  // under the old setting
  if (index == kStatusA) {
    registers_[index] = value & static_cast<uint8_t>(~kUpdateInProgress);
    restart_period();
  } else if (index == kStatusB) {
    write_status_b(value);
  } else {
    const bool sets_time = is_time(index) && !is_being_set();
    if (sets_time) load_time(shown_seconds());
    registers_[index] = value;
    if (sets_time) set_time_from_registers();
  }
  update_interrupt();
}

void RtcCmos::write_status_b(uint8_t value) {
  const bool was_set = is_being_set();
  const bool set = (value & kSetTime) != 0;
  if (!was_set && set) load_time(shown_seconds());
  // SET ends what it interrupts (data sheet, register B).
  registers_[kStatusB] = set ? value & static_cast<uint8_t>(~kUpdateEnded) : value;
  if (was_set && !set) set_time_from_registers();
}

bool RtcCmos::is_being_set() const { return (registers_[kStatusB] & kSetTime) != 0; }

int64_t RtcCmos::running_seconds() const {
  return clocks_.time_of_day() / kMicroseconds + offset_seconds_;
}

int64_t RtcCmos::shown_seconds() const {
  return clocks_.monotonic() < held_until_ ? held_seconds_ : running_seconds();
}

// std::chrono and not gmtime_r(), which reads the host's time zone file: this is a vCPU thread.
void RtcCmos::load_time(int64_t seconds) {
  using namespace std::chrono;
  const sys_seconds when{std::chrono::seconds(seconds)};
  const sys_days day = floor<days>(when);
  const year_month_day date(day);
  const hh_mm_ss time(when - day);
  const int hour = static_cast<int>(time.hours().count());
  const int year = std::max(static_cast<int>(date.year()), 0);
  registers_[kSeconds] = encode(static_cast<int>(time.seconds().count()));
  registers_[kMinutes] = encode(static_cast<int>(time.minutes().count()));
  registers_[kHours] = encode_hour(hour);
  registers_[kDayOfWeek] = encode(static_cast<int>(weekday(day).c_encoding()) + 1);
  registers_[kDayOfMonth] = encode(static_cast<int>(unsigned{date.day()}));
  registers_[kMonth] = encode(static_cast<int>(unsigned{date.month()}));
  registers_[kYear] = encode(year % 100);
  registers_[kCentury] = encode(year / 100 % 100);
}

// Whatever the registers hold is a time: fields that are out of range carry into the next.
void RtcCmos::set_time_from_registers() {
  using namespace std::chrono;
  const uint8_t hour_register = registers_[kHours];
  int hour = decode(hour_register);
  if ((registers_[kStatusB] & k24Hours) == 0)
    hour = decode(hour_register & 0x7f) % 12 + ((hour_register & kAfternoon) != 0 ? 12 : 0);
  const year_month month =
      year(decode(registers_[kCentury]) * 100 + decode(registers_[kYear])) / January +
      months(decode(registers_[kMonth]) - 1);
  const sys_seconds when = sys_days(month / 1) + days(decode(registers_[kDayOfMonth]) - 1) +
                           hours(hour) + minutes(decode(registers_[kMinutes])) +
                           seconds(decode(registers_[kSeconds]));
  held_until_ = 0;
  noticed_seconds_ = when.time_since_epoch().count();
  offset_seconds_ = noticed_seconds_ - clocks_.time_of_day() / kMicroseconds;
}

uint8_t RtcCmos::encode(int value) const {
  if ((registers_[kStatusB] & kBinary) != 0) return static_cast<uint8_t>(value);
  return static_cast<uint8_t>(value / 10 << 4 | value % 10);
}

uint8_t RtcCmos::encode_hour(int hour) const {
  if ((registers_[kStatusB] & k24Hours) != 0) return encode(hour);
  return encode(hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? kAfternoon : 0);
}

int RtcCmos::decode(uint8_t value) const {
  if ((registers_[kStatusB] & kBinary) != 0) return value;
  return (value >> 4) * 10 + (value & 0x0f);
}

}  // namespace hull::devices
