#include "devices/rtc_cmos.h"

#include <gtest/gtest.h>

#include "tests/support/port_access.h"

namespace hull::devices {
namespace {

// 2026-02-28 23:59:58.500 UTC, a Saturday.
constexpr int64_t kStart = 1772323198'500000;
int64_t g_time_of_day = kStart;
int64_t fake_time_of_day() { return g_time_of_day; }

class RtcTest : public ::testing::Test {
 protected:
  void SetUp() override { g_time_of_day = kStart; }
  uint8_t in(uint8_t index) {
    hull::testing::out8(rtc_, 0, index);
    return hull::testing::in8(rtc_, 1);
  }
  void out(uint8_t index, uint8_t value) {
    hull::testing::out8(rtc_, 0, index);
    hull::testing::out8(rtc_, 1, value);
  }

  RtcCmos rtc_{
      {.memory_below_4g_bytes = uint64_t{3} << 30, .memory_above_4g_bytes = uint64_t{5} << 30},
      fake_time_of_day};
};

TEST_F(RtcTest, ShowsHostTimeInBcd) {
  EXPECT_EQ(in(0x00), 0x58);
  EXPECT_EQ(in(0x02), 0x59);
  EXPECT_EQ(in(0x04), 0x23);
  EXPECT_EQ(in(0x06), 7);
  EXPECT_EQ(in(0x07), 0x28);
  EXPECT_EQ(in(0x08), 0x02);
  EXPECT_EQ(in(0x09), 0x26);
  EXPECT_EQ(in(0x32), 0x20);
}

TEST_F(RtcTest, TimeGoesOnIntoMarch) {
  g_time_of_day += 2'000'000;
  EXPECT_EQ(in(0x00), 0x00);
  EXPECT_EQ(in(0x07), 0x01);
  EXPECT_EQ(in(0x08), 0x03);
}

TEST_F(RtcTest, BinaryAndTwelveHourModes) {
  out(0x0b, 0x04);
  EXPECT_EQ(in(0x04), 11 | 0x80);
  EXPECT_EQ(in(0x02), 59);
  g_time_of_day += 2'000'000;
  EXPECT_EQ(in(0x04), 12);  // midnight is 12 AM
}

TEST_F(RtcTest, OffsetShiftsTheClock) {
  RtcCmos shifted({.offset_seconds = 3600}, fake_time_of_day);
  hull::testing::out8(shifted, 0, 0x04);
  EXPECT_EQ(hull::testing::in8(shifted, 1), 0x00);
  hull::testing::out8(shifted, 0, 0x08);
  EXPECT_EQ(hull::testing::in8(shifted, 1), 0x03);
}

TEST_F(RtcTest, GuestSetsItsOwnTime) {
  out(0x0b, 0x82);  // SET, 24 hours
  out(0x00, 0x30);
  out(0x02, 0x15);
  out(0x04, 0x06);
  out(0x07, 0x31);
  out(0x08, 0x12);
  out(0x09, 0x99);
  out(0x32, 0x19);
  g_time_of_day += 10'000'000;
  EXPECT_EQ(in(0x00), 0x30);  // stands still while it is set
  out(0x0b, 0x02);
  g_time_of_day += 31'000'000;
  EXPECT_EQ(in(0x00), 0x01);
  EXPECT_EQ(in(0x02), 0x16);
  EXPECT_EQ(in(0x09), 0x99);
  EXPECT_EQ(in(0x32), 0x19);
}

TEST_F(RtcTest, WriteWithoutSetChangesOneField) {
  out(0x09, 0x30);
  EXPECT_EQ(in(0x09), 0x30);
  EXPECT_EQ(in(0x02), 0x59);
}

TEST_F(RtcTest, UpdateInProgressOnlyJustBeforeTheSecond) {
  EXPECT_EQ(in(0x0a) & 0x80, 0);
  g_time_of_day = kStart + 500'000 - 244;
  EXPECT_EQ(in(0x0a) & 0x80, 0x80);
  g_time_of_day = kStart + 500'000;
  EXPECT_EQ(in(0x0a) & 0x80, 0);
}

// Slow exits: the reader saw UIP clear, then the second passes while it reads on.
TEST_F(RtcTest, TimeIsHeldForWhoLookedAtUpdateInProgress) {
  g_time_of_day = kStart + 490'000;
  EXPECT_EQ(in(0x0a) & 0x80, 0);
  EXPECT_EQ(in(0x00), 0x58);
  g_time_of_day += 20'000;
  EXPECT_EQ(in(0x00), 0x58);
  EXPECT_EQ(in(0x02), 0x59);
  g_time_of_day += 50'000;
  EXPECT_EQ(in(0x00), 0x59);
}

TEST_F(RtcTest, StatusRegistersAreReadOnlyWhereTheyShouldBe) {
  out(0x0c, 0xff);
  out(0x0d, 0x00);
  out(0x0a, 0xff);
  EXPECT_EQ(in(0x0c), 0x00);
  EXPECT_EQ(in(0x0d), 0x80);
  EXPECT_EQ(in(0x0a), 0x7f);
}

TEST_F(RtcTest, MemorySizesAreInTheirFields) {
  EXPECT_EQ(in(0x15) | in(0x16) << 8, 640);
  EXPECT_EQ(in(0x17) | in(0x18) << 8, 0xffff);
  EXPECT_EQ(in(0x34) | in(0x35) << 8, 0xbf00);
  EXPECT_EQ(in(0x5b) | in(0x5c) << 8 | in(0x5d) << 16, 5 << 14);
}

TEST_F(RtcTest, ChecksumFits) {
  unsigned sum = 0;
  for (uint8_t index = 0x10; index < 0x2e; ++index) sum += in(index);
  EXPECT_EQ(in(0x2e) << 8 | in(0x2f), static_cast<int>(sum));
}

TEST_F(RtcTest, MemoryIsWritableAndIndexBitSevenIgnored) {
  out(0x40 | 0x80, 0x77);
  EXPECT_EQ(in(0x40), 0x77);
  EXPECT_EQ(hull::testing::in8(rtc_, 0), 0x40);
}

}  // namespace
}  // namespace hull::devices
