// Every legacy device, every offset in and around its range, every width, several values: nothing
// crashes, nothing is written outside of the buffer, nothing hangs.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

#include "devices/acpi_pm.h"
#include "devices/debug_exit.h"
#include "devices/fw_cfg.h"
#include "devices/i8042.h"
#include "devices/pvpanic.h"
#include "devices/reset_port.h"
#include "devices/rtc_cmos.h"
#include "devices/serial_16550.h"
#include "tests/support/fake_lines.h"

namespace hull::devices {
namespace {

using hull::testing::FakeLevelLine;
using hull::testing::FakeLine;
using hull::testing::FakePowerEvents;
using hull::testing::FakeTimer;

constexpr uint8_t kCanary = 0x5a;
constexpr size_t kMaxWidth = 8;

void access(BusDevice& device, uint64_t offset, size_t width, uint8_t value) {
  std::array<uint8_t, kMaxWidth> written;
  written.fill(value);
  device.write(offset, {written.data(), width});
  std::array<uint8_t, kMaxWidth + 1> read;
  read.fill(kCanary);
  device.read(offset, {read.data(), width});
  ASSERT_EQ(read[width], kCanary) << device.name() << " wrote past " << width << " bytes";
}

void access_everything(BusDevice& device, uint64_t ports) {
  std::vector<uint64_t> offsets = {UINT64_MAX - 3, UINT64_MAX};
  for (uint64_t offset = 0; offset < ports + 4; ++offset) offsets.push_back(offset);
  for (const uint8_t value :
       std::to_array<uint8_t>({0, 0xff, 1, 0x80, 0x55, 0xaa, 0x10, 0xd1, 0xf0})) {
    for (const uint64_t offset : offsets) {
      for (size_t width = 1; width <= kMaxWidth; ++width) access(device, offset, width, value);
    }
  }
}

TEST(AllRegisters, SerialTakesEveryAccess) {
  FakeLine line;
  auto serial = Serial16550::create("serial0", line);
  ASSERT_TRUE(serial);
  access_everything(**serial, Serial16550::kPortCount);
}

TEST(AllRegisters, SerialTakesEveryAccessInLoopback) {
  FakeLine line;
  auto serial = Serial16550::create("serial0", line);
  ASSERT_TRUE(serial);
  access(**serial, 4, 1, 0x1f);
  access_everything(**serial, 4);
}

TEST(AllRegisters, KeyboardControllerTakesEveryAccess) {
  FakeLine line;
  FakePowerEvents events;
  I8042 device(events, line);
  access_everything(device, I8042::kPortCount);
}

TEST(AllRegisters, FirmwareConfigurationTakesEveryAccess) {
  const std::vector<MemoryRegion> regions{{GuestAddress{0}, 0x10000}};
  const GuestMemory memory = GuestMemory::create(regions).value();
  FwCfg device(memory, {}, {{"etc/e820", {1, 2, 3}}});
  access_everything(device, FwCfg::kPortCount);
}

// Each of the 256 commands followed by each kind of data byte.
TEST(AllRegisters, KeyboardControllerTakesEveryCommand) {
  FakeLine line;
  FakePowerEvents events;
  I8042 device(events, line);
  for (unsigned command = 0; command < 256; ++command) {
    access(device, 4, 1, static_cast<uint8_t>(command));
    for (unsigned data = 0; data < 256; ++data) access(device, 0, 1, static_cast<uint8_t>(data));
  }
}

TEST(AllRegisters, ClockTakesEveryAccess) {
  FakeLine line;
  FakeTimer timer;
  RtcCmos device(RtcOptions{}, line, timer);
  access_everything(device, RtcCmos::kPortCount);
}

// Every CMOS register with every value: 24 and 12 hours, BCD and binary, SET on and off.
TEST(AllRegisters, ClockTakesEveryRegisterAndValue) {
  FakeLine line;
  FakeTimer timer;
  RtcCmos device(RtcOptions{}, line, timer);
  for (unsigned mode = 0; mode < 256; mode += 2) {
    for (unsigned index = 0; index < 256; ++index) {
      access(device, 0, 1, 0x0b);
      access(device, 1, 1, static_cast<uint8_t>(mode));
      access(device, 0, 1, static_cast<uint8_t>(index));
      for (const uint8_t value : std::to_array<uint8_t>({0, 0xff, 0x99, 0x59, 0x12, 0x80}))
        access(device, 1, 1, value);
    }
  }
}

TEST(AllRegisters, AcpiTakesEveryAccess) {
  FakeLevelLine sci;
  FakePowerEvents events;
  AcpiPm device(events, sci);
  access_everything(device, AcpiPm::kPortCount);
}

TEST(AllRegisters, SinglePortsTakeEveryAccess) {
  FakePowerEvents events;
  ResetPort reset(events);
  access_everything(reset, ResetPort::kPortCount);
  DebugExit debug_exit(events);
  access_everything(debug_exit, DebugExit::kPortCount);
  Pvpanic pvpanic(events);
  access_everything(pvpanic, Pvpanic::kPortCount);
}

}  // namespace
}  // namespace hull::devices
