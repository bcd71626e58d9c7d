#include "devices/acpi_pm.h"

#include <gtest/gtest.h>

#include "tests/support/fake_lines.h"
#include "tests/support/port_access.h"

namespace hull::devices {
namespace {

using hull::testing::in;
using hull::testing::out;

constexpr uint16_t kPowerButton = 1 << 8;
constexpr uint16_t kSleepEnable = 1 << 13;

uint64_t g_now = 0;
uint64_t fake_clock() { return g_now; }

class AcpiPmTest : public ::testing::Test {
 protected:
  void TearDown() override { g_now = 0; }
  uint16_t status() { return in<uint16_t>(pm_, 0); }
  void clear_status(uint16_t bits) { out<uint16_t>(pm_, 0, bits); }
  void enable(uint16_t bits) { out<uint16_t>(pm_, 2, bits); }

  hull::testing::FakePowerEvents events_;
  hull::testing::FakeLevelLine sci_;
  AcpiPm pm_{events_, sci_, fake_clock};
};

TEST_F(AcpiPmTest, PowerButtonRaisesSciUntilCleared) {
  enable(kPowerButton);
  pm_.press_power_button();
  EXPECT_TRUE(sci_.asserted());
  EXPECT_EQ(status(), kPowerButton);
  clear_status(0);
  EXPECT_TRUE(sci_.asserted());
  clear_status(kPowerButton);
  EXPECT_FALSE(sci_.asserted());
  EXPECT_EQ(status(), 0);
}

TEST_F(AcpiPmTest, PowerButtonBeforeEnablingWaits) {
  pm_.press_power_button();
  EXPECT_FALSE(sci_.asserted());
  enable(kPowerButton);
  EXPECT_TRUE(sci_.asserted());
  enable(0);
  EXPECT_FALSE(sci_.asserted());
  EXPECT_EQ(sci_.changes(), 2u);
}

TEST_F(AcpiPmTest, StatusBytesCanBeClearedOneByOne) {
  pm_.press_power_button();
  hull::testing::out8(pm_, 0, 0xff);
  EXPECT_EQ(status(), kPowerButton);
  hull::testing::out8(pm_, 1, 0x01);
  EXPECT_EQ(status(), 0);
}

TEST_F(AcpiPmTest, AcpiModeIsAlwaysOn) {
  EXPECT_EQ(in<uint16_t>(pm_, 4), 1);
  out<uint16_t>(pm_, 4, 0);
  EXPECT_EQ(in<uint16_t>(pm_, 4), 1);
}

TEST_F(AcpiPmTest, SleepEnableWithS5PowersOff) {
  out<uint16_t>(pm_, 4, AcpiPm::kSleepTypeS5 << 10);
  EXPECT_EQ(events_.power_offs, 0u);
  out<uint16_t>(pm_, 4, AcpiPm::kSleepTypeS5 << 10 | kSleepEnable);
  EXPECT_EQ(events_.power_offs, 1u);
  EXPECT_EQ(in<uint16_t>(pm_, 4), AcpiPm::kSleepTypeS5 << 10 | 1);  // SLP_EN is write-only
}

// SeaBIOS and OVMF do not look at the DSDT for it.
TEST_F(AcpiPmTest, FirmwareSwitchesOffBySleepType0) {
  out<uint16_t>(pm_, 4, kSleepEnable);
  EXPECT_EQ(events_.power_offs, 1u);
}

TEST_F(AcpiPmTest, OtherSleepTypesDoNothing) {
  for (uint16_t type = 0; type < 8; ++type) {
    if (type != AcpiPm::kSleepTypeS5 && type != 0)
      out<uint16_t>(pm_, 4, static_cast<uint16_t>(type << 10 | kSleepEnable));
  }
  EXPECT_EQ(events_.power_offs, 0u);
}

TEST_F(AcpiPmTest, TimerCountsAtItsFrequency) {
  EXPECT_EQ(in<uint32_t>(pm_, 8), 0u);
  g_now = 1'000'000'000;
  EXPECT_EQ(in<uint32_t>(pm_, 8), 3'579'545u);
  g_now = uint64_t{365} * 24 * 3600 * 1'000'000'000;
  EXPECT_EQ(in<uint32_t>(pm_, 8), static_cast<uint32_t>(uint64_t{365} * 24 * 3600 * 3'579'545));
}

TEST_F(AcpiPmTest, TimerIsReadOnly) {
  g_now = 1'000'000'000;
  out<uint32_t>(pm_, 8, 0);
  EXPECT_EQ(in<uint32_t>(pm_, 8), 3'579'545u);
}

}  // namespace
}  // namespace hull::devices
