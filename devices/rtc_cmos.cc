#include "devices/rtc_cmos.h"

#include <time.h>

#include <algorithm>
#include <chrono>

namespace hull::devices {

namespace {

constexpr uint64_t kIndexPort = 0;
constexpr uint64_t kRtcDataPort = 1;

constexpr uint8_t kSeconds = 0x00;
constexpr uint8_t kMinutes = 0x02;
constexpr uint8_t kHours = 0x04;
constexpr uint8_t kDayOfWeek = 0x06;
constexpr uint8_t kDayOfMonth = 0x07;
constexpr uint8_t kMonth = 0x08;
constexpr uint8_t kYear = 0x09;
constexpr uint8_t kStatusA = 0x0a;
constexpr uint8_t kStatusB = 0x0b;
constexpr uint8_t kStatusC = 0x0c;
constexpr uint8_t kStatusD = 0x0d;
constexpr uint8_t kCentury = 0x32;

constexpr uint8_t kUpdateInProgress = 0x80;  // A
constexpr uint8_t kSetTime = 0x80;           // B
constexpr uint8_t kBinary = 0x04;            // B
constexpr uint8_t k24Hours = 0x02;           // B
constexpr uint8_t kValid = 0x80;             // D
constexpr uint8_t kAfternoon = 0x80;         // hours, in 12-hour mode

// Data sheet: after UIP reads as 0 at least this long is left before the next update.
constexpr int64_t kUpdateMicroseconds = 244;
// How long the time stands still for a reader that has seen UIP clear.
constexpr int64_t kHoldMicroseconds = 50'000;
constexpr int64_t kMicroseconds = 1'000'000;
constexpr int64_t kMaxOffset = int64_t{100} * 366 * 24 * 3600;  // a century

bool is_time(uint8_t index) {
  return index == kSeconds || index == kMinutes || index == kHours || index == kDayOfWeek ||
         index == kDayOfMonth || index == kMonth || index == kYear || index == kCentury;
}

}  // namespace

int64_t local_time_offset_seconds() {
  const time_t now = time(nullptr);
  tm local{};
  return localtime_r(&now, &local) == nullptr ? 0 : local.tm_gmtoff;
}

int64_t RtcCmos::host_clock() {
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * kMicroseconds + now.tv_nsec / 1000;
}

RtcCmos::RtcCmos(const RtcOptions& options, Clock clock)
    : clock_(clock), offset_seconds_(std::clamp(options.offset_seconds, -kMaxOffset, kMaxOffset)) {
  MutexLock lock(mutex_);
  registers_[kStatusA] = 0x26;  // 32.768 kHz time base, 1024 Hz
  registers_[kStatusB] = k24Hours;
  registers_[kStatusD] = kValid;
  fill_memory_sizes(options);
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
  if (index == kStatusC) return 0;
  if (is_time(index) && (registers_[kStatusB] & kSetTime) == 0) load_time(guest_seconds());
  return registers_[index];
}

// A guest looks at UIP and then reads the registers one by one, each an exit. The time is held for
// it, so that no second passes in between.
uint8_t RtcCmos::read_status_a() {
  const uint8_t value = registers_[kStatusA];
  if ((registers_[kStatusB] & kSetTime) != 0) return value;
  held_until_ = 0;
  const int64_t now = clock_();
  if (now % kMicroseconds >= kMicroseconds - kUpdateMicroseconds) return value | kUpdateInProgress;
  held_seconds_ = guest_seconds();
  held_until_ = now + kHoldMicroseconds;
  return value;
}

void RtcCmos::write_register(uint8_t index, uint8_t value) {
  switch (index) {
    case kStatusA: registers_[index] = value & static_cast<uint8_t>(~kUpdateInProgress); return;
    case kStatusB: write_status_b(value); return;
    case kStatusC:
    case kStatusD: return;
    default: break;
  }
  const bool running = (registers_[kStatusB] & kSetTime) == 0;
  if (is_time(index) && running) load_time(guest_seconds());
  registers_[index] = value;
  if (is_time(index) && running) set_time_from_registers();
}

void RtcCmos::write_status_b(uint8_t value) {
  const bool was_set = (registers_[kStatusB] & kSetTime) != 0;
  const bool set = (value & kSetTime) != 0;
  if (!was_set && set) load_time(guest_seconds());
  registers_[kStatusB] = value;
  if (was_set && !set) set_time_from_registers();
}

int64_t RtcCmos::guest_seconds() const {
  const int64_t now = clock_();
  if (now < held_until_) return held_seconds_;
  return now / kMicroseconds + offset_seconds_;
}

// std::chrono and not gmtime_r(), which reads the host's time zone file: this is a vCPU thread.
void RtcCmos::load_time(int64_t seconds) {
  using namespace std::chrono;
  const sys_seconds when{std::chrono::seconds(seconds)};
  const sys_days day = floor<days>(when);
  const year_month_day date(day);
  const hh_mm_ss time(when - day);
  const int hour = static_cast<int>(time.hours().count());
  const int year = static_cast<int>(date.year());
  registers_[kSeconds] = encode(static_cast<int>(time.seconds().count()));
  registers_[kMinutes] = encode(static_cast<int>(time.minutes().count()));
  if ((registers_[kStatusB] & k24Hours) != 0)
    registers_[kHours] = encode(hour);
  else
    registers_[kHours] = encode(hour % 12 == 0 ? 12 : hour % 12) | (hour >= 12 ? kAfternoon : 0);
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
  offset_seconds_ = when.time_since_epoch().count() - clock_() / kMicroseconds;
}

uint8_t RtcCmos::encode(int value) const {
  if ((registers_[kStatusB] & kBinary) != 0) return static_cast<uint8_t>(value);
  return static_cast<uint8_t>(value / 10 << 4 | value % 10);
}

int RtcCmos::decode(uint8_t value) const {
  if ((registers_[kStatusB] & kBinary) != 0) return value;
  return (value >> 4) * 10 + (value & 0x0f);
}

}  // namespace hull::devices
