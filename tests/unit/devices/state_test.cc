// State of the legacy devices: save, build anew, take back.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "devices/acpi_pm.h"
#include "devices/i8042.h"
#include "devices/reset_port.h"
#include "devices/rtc_cmos.h"
#include "devices/serial_16550.h"
#include "devices/serial_16550_registers.h"
#include "tests/support/fake_lines.h"
#include "tests/support/port_access.h"

namespace hull::devices {
namespace {

using hull::testing::FakeLevelLine;
using hull::testing::FakeLine;
using hull::testing::FakePowerEvents;
using hull::testing::FakeTimer;
using hull::testing::in;
using hull::testing::in8;
using hull::testing::out;
using hull::testing::out8;

std::vector<uint8_t> saved(const Stateful& device) {
  StateWriter writer;
  device.save(writer);
  return std::move(writer).finish();
}

void restore(Stateful& device, const std::vector<uint8_t>& bytes) {
  StateReader reader(bytes);
  const auto loaded = device.load(reader);
  ASSERT_TRUE(loaded) << loaded.error().message();
  EXPECT_TRUE(reader.end());
  EXPECT_EQ(saved(device), bytes);
}

// Shorter and changed states: errors or other values, and a device that still takes accesses.
template <class Device>
void survives_hostile_state(Device& device, uint64_t ports) {
  const std::vector<uint8_t> good = saved(device);
  for (size_t length = 0; length < good.size(); ++length) {
    StateReader reader(std::span<const uint8_t>(good).first(length));
    EXPECT_FALSE(device.load(reader)) << length;
  }
  EXPECT_EQ(saved(device), good);  // an error changes nothing
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    std::vector<uint8_t> bad = good;
    for (int changes = 0; changes < 4; ++changes)
      bad[random() % bad.size()] = static_cast<uint8_t>(random());
    StateReader reader(bad);
    (void)device.load(reader);
    for (uint64_t port = 0; port < ports; ++port) {
      in8(device, port);
      out8(device, port, static_cast<uint8_t>(random()));
    }
  }
}

uint64_t g_state_nanoseconds = 0;
uint64_t state_nanoseconds() { return g_state_nanoseconds; }

TEST(DeviceState, AcpiPmKeepsItsEventsAndItsTimer) {
  FakePowerEvents events;
  FakeLevelLine sci, restored_sci;
  g_state_nanoseconds = 5'000'000'000;
  AcpiPm pm(events, sci, state_nanoseconds);
  out<uint16_t>(pm, AcpiPm::kEventOffset + 2, 0x0100);
  out<uint16_t>(pm, AcpiPm::kControlOffset, 0x0002);
  pm.press_power_button();
  g_state_nanoseconds += 1'000'000'000;
  const auto timer = in<uint32_t>(pm, AcpiPm::kTimerOffset);
  EXPECT_EQ(timer, 3'579'545u);
  const std::vector<uint8_t> bytes = saved(pm);

  g_state_nanoseconds = 77;  // another host
  AcpiPm restored(events, restored_sci, state_nanoseconds);
  restore(restored, bytes);
  EXPECT_TRUE(restored_sci.asserted());
  EXPECT_EQ(in<uint32_t>(restored, AcpiPm::kTimerOffset), timer);
  EXPECT_EQ(in<uint16_t>(restored, AcpiPm::kEventOffset), 0x0100);
  EXPECT_EQ(in<uint16_t>(restored, AcpiPm::kControlOffset), 0x0003);
  EXPECT_EQ(events.power_offs, 0u);
  survives_hostile_state(restored, AcpiPm::kPortCount);
}

TEST(DeviceState, KeyboardControllerKeepsWhatItHasToSay) {
  FakePowerEvents events;
  FakeLine line, restored_line;
  I8042 keyboard(events, line);
  out8(keyboard, 4, 0x60);
  out8(keyboard, 0, 0x41);
  out8(keyboard, 0, 0xf2);  // identify: three bytes
  EXPECT_EQ(in8(keyboard, 0), 0xfa);
  out8(keyboard, 4, 0xd1);  // waits for its parameter
  const std::vector<uint8_t> bytes = saved(keyboard);

  I8042 restored(events, restored_line);
  restore(restored, bytes);
  EXPECT_EQ(restored_line.edges(), 0u);
  EXPECT_EQ(in8(restored, 0), 0xab);
  EXPECT_EQ(in8(restored, 0), 0x41);
  out8(restored, 0, 0xfe);
  EXPECT_EQ(events.resets, 1u);
  survives_hostile_state(restored, I8042::kPortCount);
}

TEST(DeviceState, ResetPortKeepsItsByte) {
  FakePowerEvents events;
  ResetPort port(events);
  out8(port, 0, 0x02);
  const std::vector<uint8_t> bytes = saved(port);
  ResetPort restored(events);
  restore(restored, bytes);
  EXPECT_EQ(in8(restored, 0), 0x02);
  EXPECT_EQ(events.resets, 0u);
  survives_hostile_state(restored, ResetPort::kPortCount);
}

std::string shown_text(const RingView& view) {
  std::string text(view.first.begin(), view.first.end());
  return text.append(view.second.begin(), view.second.end());
}

TEST(DeviceState, SerialPortKeepsWhatWaitsInBothDirections) {
  using namespace uart;
  FakeLine line, restored_line;
  auto serial = std::move(*Serial16550::create("serial0", line));
  out8(*serial, kFifoControl, kFcrEnable);
  out8(*serial, kModemControl, kMcrOut2 | kMcrDtr);
  out8(*serial, kInterruptEnable, kIerReceived | kIerTransmitEmpty);
  out8(*serial, kScratch, 0x77);
  for (const char byte : {'o', 'u', 't'}) out8(*serial, kData, static_cast<uint8_t>(byte));
  const std::string input = "twenty bytes of text";
  serial->receive({reinterpret_cast<const uint8_t*>(input.data()), input.size()});
  EXPECT_EQ(in8(*serial, kData), 't');
  const std::vector<uint8_t> bytes = saved(*serial);

  auto restored = std::move(*Serial16550::create("serial0", restored_line));
  restore(*restored, bytes);
  EXPECT_TRUE(restored->output_ready().consume());
  EXPECT_EQ(shown_text(restored->output()), "out");
  restored->consume_output(3);
  std::string read;
  while ((in8(*restored, kLineStatus) & kLsrDataReady) != 0)
    read += static_cast<char>(in8(*restored, kData));
  EXPECT_EQ(read, input.substr(1));
  EXPECT_EQ(in8(*restored, kScratch), 0x77);
  EXPECT_EQ(in8(*restored, kInterruptId) & 0x0f, kIirTransmitEmpty);
  out8(*restored, kInterruptEnable, 0);
  out8(*restored, kInterruptEnable, kIerTransmitEmpty);
  EXPECT_GT(restored_line.edges(), 0u);
  survives_hostile_state(*restored, Serial16550::kPortCount);
}

TEST(DeviceState, SerialPortOfAnotherNameIsRefused) {
  FakeLine line;
  auto first = std::move(*Serial16550::create("serial0", line));
  auto second = std::move(*Serial16550::create("serial1", line));
  const std::vector<uint8_t> bytes = saved(*first);
  StateReader reader(bytes);
  EXPECT_FALSE(second->load(reader));
}

TEST(DeviceState, ClockSurvivesHostileState) {
  FakeLine line;
  FakeTimer timer;
  RtcCmos rtc({}, line, timer);
  survives_hostile_state(rtc, RtcCmos::kPortCount);
}

}  // namespace
}  // namespace hull::devices
