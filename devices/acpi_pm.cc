#include "devices/acpi_pm.h"

#include <algorithm>
#include <chrono>

namespace hull::devices {

namespace {

// PM1 status and enable have the same layout (ACPI 6.5, tables 4.12 and 4.13).
constexpr uint16_t kPowerButton = 1u << 8;
constexpr uint16_t kEnableMask = kPowerButton | 1u << 0 | 1u << 5 | 1u << 9 | 1u << 10;

// PM1 control (table 4.14); the high byte holds SLP_TYP and SLP_EN.
constexpr uint16_t kSciEnabled = 1u << 0;
constexpr uint16_t kControlMask = 0x1c02;  // BM_RLD and SLP_TYP; the others are write-only
constexpr uint8_t kSleepEnableHigh = 1u << 5;

// What SeaBIOS and OVMF write to switch the machine off, without a look at the DSDT.
constexpr uint8_t kSleepTypeOfFirmware = 0;

constexpr uint64_t kTimerHz = 3'579'545;
constexpr uint64_t kNanosecondsPerSecond = 1'000'000'000;

}  // namespace

uint64_t AcpiPm::host_clock() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

AcpiPm::AcpiPm(PowerEvents& events, LevelInterruptLine& sci, Clock clock)
    : events_(events), sci_(sci), clock_(clock), start_nanoseconds_(clock()) {}

// One snapshot per access, so that a wide read of the timer does not tear.
void AcpiPm::read(uint64_t offset, std::span<uint8_t> data) {
  MutexLock lock(mutex_);
  const std::array<uint8_t, kPortCount> image = registers();
  for (uint8_t& byte : data) {
    byte = offset < image.size() ? image[offset] : 0xff;
    ++offset;
  }
}

void AcpiPm::write(uint64_t offset, std::span<const uint8_t> data) {
  MutexLock lock(mutex_);
  for (const uint8_t byte : data) write_byte(offset++, byte);
}

void AcpiPm::press_power_button() {
  MutexLock lock(mutex_);
  status_ |= kPowerButton;
  update_sci();
}

std::array<uint8_t, AcpiPm::kPortCount> AcpiPm::registers() const {
  std::array<uint8_t, kPortCount> image{};
  const auto put = [&image](uint64_t offset, uint32_t value, size_t size) {
    for (size_t i = 0; i < size; ++i) image[offset + i] = static_cast<uint8_t>(value >> (8 * i));
  };
  put(kEventOffset, status_, 2);
  put(kEventOffset + 2, enable_, 2);
  put(kControlOffset, control_ | kSciEnabled, 2);
  put(kTimerOffset, timer_value(), 4);
  return image;
}

uint64_t AcpiPm::elapsed_nanoseconds() const { return clock_() - start_nanoseconds_; }

uint32_t AcpiPm::timer_value() const {
  const uint64_t elapsed = elapsed_nanoseconds();
  const uint64_t seconds = elapsed / kNanosecondsPerSecond;
  const uint64_t rest = elapsed % kNanosecondsPerSecond;
  return static_cast<uint32_t>(seconds * kTimerHz + rest * kTimerHz / kNanosecondsPerSecond);
}

void AcpiPm::write_byte(uint64_t offset, uint8_t value) {
  const uint16_t high = static_cast<uint16_t>(value << 8);
  switch (offset) {
    // Status bits are cleared by writing one.
    case kEventOffset: status_ &= static_cast<uint16_t>(~value); break;
    case kEventOffset + 1: status_ &= static_cast<uint16_t>(~high); break;
    case kEventOffset + 2: enable_ = ((enable_ & 0xff00) | value) & kEnableMask; break;
    case kEventOffset + 3: enable_ = ((enable_ & 0x00ff) | high) & kEnableMask; break;
    case kControlOffset: control_ = ((control_ & 0xff00) | value) & kControlMask; break;
    case kControlOffset + 1: write_control_high(value); break;
    default: return;
  }
  update_sci();
}

void AcpiPm::write_control_high(uint8_t value) {
  control_ = static_cast<uint16_t>((control_ & 0x00ff) | value << 8) & kControlMask;
  const uint8_t sleep_type = (value >> 2) & 7;
  // Other sleep states are not in the DSDT; asking for them does nothing.
  const bool off = sleep_type == kSleepTypeS5 || sleep_type == kSleepTypeOfFirmware;
  if ((value & kSleepEnableHigh) != 0 && off) events_.power_off();
}

// The timer goes on where it was: a guest measures time with it.
void AcpiPm::save(StateWriter& out) const {
  MutexLock lock(mutex_);
  const auto section = out.section(name(), 1);
  out.u16(status_);
  out.u16(enable_);
  out.u16(control_);
  out.u64(elapsed_nanoseconds());
}

Result<void> AcpiPm::load(StateReader& in) {
  StateReader section = TRY(in.section(name(), 1));
  const uint16_t status = section.u16();
  const uint16_t enable = section.u16();
  const uint16_t control = section.u16();
  const uint64_t elapsed = section.u64();
  TRY(section.end());

  MutexLock lock(mutex_);
  status_ = status & kPowerButton;
  enable_ = enable & kEnableMask;
  control_ = control & kControlMask;
  start_nanoseconds_ = clock_() - elapsed;
  update_sci();
  return {};
}

void AcpiPm::update_sci() {
  const bool asserted = (status_ & enable_) != 0;
  if (asserted == sci_asserted_) return;
  sci_asserted_ = asserted;
  sci_.set(asserted);
}

}  // namespace hull::devices
