// Registers of the MC146818 (data sheet, figures 13 to 16), and the century of the PC/AT.
#pragma once

#include <cstdint>

namespace hull::devices::rtc {

inline constexpr uint8_t kSeconds = 0x00;
inline constexpr uint8_t kSecondsAlarm = 0x01;
inline constexpr uint8_t kMinutes = 0x02;
inline constexpr uint8_t kMinutesAlarm = 0x03;
inline constexpr uint8_t kHours = 0x04;
inline constexpr uint8_t kHoursAlarm = 0x05;
inline constexpr uint8_t kDayOfWeek = 0x06;
inline constexpr uint8_t kDayOfMonth = 0x07;
inline constexpr uint8_t kMonth = 0x08;
inline constexpr uint8_t kYear = 0x09;
inline constexpr uint8_t kStatusA = 0x0a;
inline constexpr uint8_t kStatusB = 0x0b;
inline constexpr uint8_t kStatusC = 0x0c;
inline constexpr uint8_t kStatusD = 0x0d;
inline constexpr uint8_t kCentury = 0x32;

inline constexpr uint8_t kUpdateInProgress = 0x80;  // A
inline constexpr uint8_t kDividerMask = 0x70;       // A
inline constexpr uint8_t kDivider32kHz = 0x20;      // A: the only one that runs
inline constexpr uint8_t kRateMask = 0x0f;          // A

inline constexpr uint8_t kSetTime = 0x80;  // B
inline constexpr uint8_t kBinary = 0x04;   // B
inline constexpr uint8_t k24Hours = 0x02;  // B

// In B they enable what they report in C.
inline constexpr uint8_t kPeriodic = 0x40;
inline constexpr uint8_t kAlarm = 0x20;
inline constexpr uint8_t kUpdateEnded = 0x10;
inline constexpr uint8_t kEvents = kPeriodic | kAlarm | kUpdateEnded;
inline constexpr uint8_t kInterruptRequest = 0x80;  // C

inline constexpr uint8_t kValid = 0x80;      // D
inline constexpr uint8_t kAfternoon = 0x80;  // hours, in 12-hour mode
inline constexpr uint8_t kAlarmAny = 0xc0;   // alarm registers: both bits set match everything

}  // namespace hull::devices::rtc
