// The events that register C of the clock reports, the interrupt that they ask for, and the state
// of the device.
#include <algorithm>
#include <chrono>

#include "devices/rtc_cmos.h"
#include "devices/rtc_registers.h"

namespace hull::devices {

using namespace rtc;

namespace {

constexpr int64_t kSecondsPerDay = 24 * 3600;
constexpr int64_t kRtcNanoseconds = 1'000'000'000;
constexpr int64_t kRtcMicroseconds = 1'000'000;
// What a guest can set the clock to, and a bit more: 17 000 years.
constexpr int64_t kMaxSavedSeconds = 550'000'000'000;

}  // namespace

uint8_t RtcCmos::read_status_c() {
  notice_events();
  const bool request = (events_ & registers_[kStatusB] & kEvents) != 0;
  const uint8_t value = events_ | (request ? kInterruptRequest : 0);
  events_ = 0;
  update_interrupt();
  return value;
}

void RtcCmos::timer_expired() {
  MutexLock lock(mutex_);
  timer_armed_ = false;
  notice_events();
  update_interrupt();
}

void RtcCmos::notice_events() {
  if (!is_being_set()) {
    const int64_t now = running_seconds();
    // A day holds every time of day, so no more of them need a look.
    const int64_t first = std::max(noticed_seconds_ + 1, now - (kSecondsPerDay - 1));
    for (int64_t second = first; second <= now && (events_ & kAlarm) == 0; ++second)
      if (alarm_matches(second)) events_ |= kAlarm;
    if (now > noticed_seconds_) events_ |= kUpdateEnded;
    noticed_seconds_ = now;  // also if the host's clock was set back
  }
  if (const int64_t period = period_nanoseconds(); period != 0) {
    const int64_t periods = (clocks_.monotonic() - period_start_) / period;
    if (periods > noticed_periods_) events_ |= kPeriodic;
    noticed_periods_ = periods;
  }
}

bool RtcCmos::alarm_matches(int64_t seconds) const {
  const int64_t in_day = (seconds % kSecondsPerDay + kSecondsPerDay) % kSecondsPerDay;
  const auto matches = [](uint8_t alarm, uint8_t now) {
    return (alarm & kAlarmAny) == kAlarmAny || alarm == now;
  };
  return matches(registers_[kSecondsAlarm], encode(static_cast<int>(in_day % 60))) &&
         matches(registers_[kMinutesAlarm], encode(static_cast<int>(in_day / 60 % 60))) &&
         matches(registers_[kHoursAlarm], encode_hour(static_cast<int>(in_day / 3600)));
}

// Zero while the divider is stopped or no rate is selected. Rates 1 and 2 are those of 8 and 9.
int64_t RtcCmos::period_nanoseconds() const {
  const uint8_t rate = registers_[kStatusA] & kRateMask;
  if ((registers_[kStatusA] & kDividerMask) != kDivider32kHz || rate == 0) return 0;
  const unsigned shift = rate < 3 ? rate + 6u : rate - 1u;
  return (kRtcNanoseconds << shift) / 32768;
}

void RtcCmos::restart_period() {
  period_start_ = clocks_.monotonic();
  noticed_periods_ = 0;
}

// The request stays until register C is read; one edge is enough for it.
void RtcCmos::update_interrupt() {
  const bool request = (events_ & registers_[kStatusB] & kEvents) != 0;
  if (request && !requested_) interrupt_.trigger();
  requested_ = request;
  set_timer();
}

void RtcCmos::set_timer() {
  constexpr int64_t kNever = INT64_MAX;
  int64_t delay = kNever;
  const uint8_t enabled = registers_[kStatusB];
  if (!requested_) {
    const int64_t period = period_nanoseconds();
    if ((enabled & kPeriodic) != 0 && period != 0)
      delay = period - (clocks_.monotonic() - period_start_) % period;
    if ((enabled & (kAlarm | kUpdateEnded)) != 0 && !is_being_set()) {
      const int64_t passed = clocks_.time_of_day() % kRtcMicroseconds;
      delay = std::min(delay, (kRtcMicroseconds - passed) * 1000);
    }
  }
  if (delay != kNever)
    timer_.arm(std::chrono::nanoseconds(delay));
  else if (timer_armed_)
    timer_.disarm();
  timer_armed_ = delay != kNever;
}

void RtcCmos::save(StateWriter& out) const {
  MutexLock lock(mutex_);
  const auto section = out.section(name(), 1);
  out.object(registers_);
  out.i64(offset_seconds_);
  out.i64(noticed_seconds_);
  out.u8(index_);
  out.u8(events_);
  out.boolean(requested_);
}

Result<void> RtcCmos::load(StateReader& in) {
  StateReader section = TRY(in.section(name(), 1));
  const auto registers = section.object<std::array<uint8_t, 128>>();
  const int64_t offset = section.i64();
  const int64_t noticed = section.i64();
  const uint8_t index = section.u8();
  const uint8_t events = section.u8();
  const bool requested = section.boolean();
  for (const int64_t seconds : {offset, noticed})
    if (seconds < -kMaxSavedSeconds || seconds > kMaxSavedSeconds)
      section.reject("a time out of range");
  if (index >= registers.size() || (events & ~kEvents) != 0) section.reject("a register");
  TRY(section.end());

  MutexLock lock(mutex_);
  registers_ = registers;
  registers_[kStatusA] &= static_cast<uint8_t>(~kUpdateInProgress);
  registers_[kStatusD] = kValid;
  offset_seconds_ = offset;
  noticed_seconds_ = noticed;
  held_until_ = 0;
  index_ = index;
  events_ = events;
  requested_ = requested;
  restart_period();
  notice_events();
  update_interrupt();
  return {};
}

}  // namespace hull::devices
