// The devices that are one port: reset, debug exit, panic.
#include <gtest/gtest.h>

#include "devices/debug_exit.h"
#include "devices/pvpanic.h"
#include "devices/reset_port.h"
#include "tests/support/fake_lines.h"
#include "tests/support/port_access.h"

namespace hull::devices {
namespace {

using hull::testing::FakePowerEvents;
using hull::testing::in8;
using hull::testing::out;
using hull::testing::out8;

TEST(ResetPort, ResetCpuBitResets) {
  FakePowerEvents events;
  ResetPort port(events);
  out8(port, 0, 0x02);
  EXPECT_EQ(events.resets, 0u);
  EXPECT_EQ(in8(port, 0), 0x02);
  out8(port, 0, ResetPort::kResetValue);
  EXPECT_EQ(events.resets, 1u);
}

TEST(DebugExit, WrittenValueIsTheCode) {
  FakePowerEvents events;
  DebugExit port(events);
  out<uint32_t>(port, 0, 0x01020304);
  EXPECT_EQ(events.exit_code, 0x01020304u);
  out8(port, 0, 7);
  EXPECT_EQ(events.exit_code, 7u);
}

TEST(DebugExit, OtherOffsetsAreIgnored) {
  FakePowerEvents events;
  DebugExit port(events);
  out8(port, 1, 7);
  EXPECT_FALSE(events.exit_code);
}

TEST(Pvpanic, TellsWhatItKnows) {
  FakePowerEvents events;
  Pvpanic port(events);
  EXPECT_EQ(in8(port, 0), 0x03);
}

TEST(Pvpanic, PanicAndLoadedCrashKernelAreToldApart) {
  FakePowerEvents events;
  Pvpanic port(events);
  out8(port, 0, Pvpanic::kCrashLoaded);
  EXPECT_EQ(events.panics, 0u);
  out8(port, 0, Pvpanic::kPanicked);
  EXPECT_EQ(events.panics, 1u);
  out8(port, 0, 0xf0);
  EXPECT_EQ(events.panics, 1u);
}

}  // namespace
}  // namespace hull::devices
