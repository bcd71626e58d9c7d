#include "devices/rtc_cmos.h"

#include <gtest/gtest.h>

#include "tests/support/fake_lines.h"
#include "tests/support/port_access.h"

namespace hull::devices {
namespace {

// 2026-02-28 23:59:58.500 UTC, a Saturday.
constexpr int64_t kStart = 1772323198'500000;
int64_t g_time_of_day = kStart;
int64_t g_stepped = 0;  // by how much the host's time of day was set forward
constexpr RtcCmos::Clocks kClocks{.time_of_day = [] { return g_time_of_day; },
                                  .monotonic = [] { return (g_time_of_day - g_stepped) * 1000; }};

class RtcTest : public ::testing::Test {
 protected:
  void SetUp() override {
    g_time_of_day = kStart;
    g_stepped = 0;
  }
  void step_host_clock(int64_t microseconds) {
    g_time_of_day += microseconds;
    g_stepped += microseconds;
  }
  // Lets the time pass until the timer expires.
  void wait_for_timer() {
    ASSERT_TRUE(timer_.delay.has_value());
    g_time_of_day += (timer_.delay->count() + 999) / 1000;
    timer_.delay.reset();
    rtc_.timer_expired();
  }
  uint8_t in(uint8_t index) {
    hull::testing::out8(rtc_, 0, index);
    return hull::testing::in8(rtc_, 1);
  }
  void out(uint8_t index, uint8_t value) {
    hull::testing::out8(rtc_, 0, index);
    hull::testing::out8(rtc_, 1, value);
  }

  hull::testing::FakeLine line_;
  hull::testing::FakeTimer timer_;
  StateWriter out_;
  RtcCmos rtc_{
      {.memory_below_4g_bytes = uint64_t{3} << 30, .memory_above_4g_bytes = uint64_t{5} << 30},
      line_,
      timer_,
      kClocks};
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
  RtcCmos shifted({.offset_seconds = 3600}, line_, timer_, kClocks);
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

// The host's administrator sets its clock back by an hour while a guest reads the time.
TEST_F(RtcTest, TheHoldEndsAlthoughTheHostsClockWasSetBack) {
  EXPECT_EQ(in(0x0a) & 0x80, 0);
  step_host_clock(int64_t{-3600} * 1'000'000);
  EXPECT_EQ(in(0x04), 0x23);
  g_time_of_day += 100'000;
  EXPECT_EQ(in(0x04), 0x22);
}

TEST_F(RtcTest, NothingIsArmedUntilAnInterruptIsEnabled) {
  EXPECT_FALSE(timer_.delay);
  out(0x01, 0x00);
  out(0x0b, 0x02);
  EXPECT_FALSE(timer_.delay);
  EXPECT_EQ(line_.edges(), 0u);
}

TEST_F(RtcTest, UpdateEndedInterruptComesEachSecond) {
  out(0x0a, 0x20);  // no periodic events
  out(0x01, 0x30);  // no alarm at midnight
  out(0x0b, 0x12);
  EXPECT_EQ(timer_.delay, std::chrono::milliseconds(500));
  wait_for_timer();
  EXPECT_EQ(line_.take_edges(), 1u);
  EXPECT_FALSE(timer_.delay);  // until the guest has answered
  g_time_of_day += 3'300'000;
  EXPECT_EQ(in(0x0c), 0x90);
  EXPECT_EQ(in(0x0c), 0x00);
  EXPECT_EQ(timer_.delay, std::chrono::milliseconds(700));
  wait_for_timer();
  EXPECT_EQ(line_.take_edges(), 1u);
  EXPECT_EQ(in(0x0c), 0x90);
  out(0x0b, 0x02);
  EXPECT_FALSE(timer_.delay);
}

TEST_F(RtcTest, AlarmComesAtItsTimeOfDay) {
  out(0x05, 0x00);  // hours, minutes, seconds
  out(0x03, 0x00);
  out(0x01, 0x01);
  out(0x0b, 0x22);
  wait_for_timer();  // 23:59:59
  wait_for_timer();  // 00:00:00
  EXPECT_EQ(line_.edges(), 0u);
  wait_for_timer();  // 00:00:01
  EXPECT_EQ(line_.take_edges(), 1u);
  EXPECT_EQ(in(0x0c) & 0xa0, 0xa0);
  wait_for_timer();
  EXPECT_EQ(line_.edges(), 0u);
}

TEST_F(RtcTest, AlarmRegistersMatchAnythingFromC0Up) {
  out(0x05, 0xff);
  out(0x03, 0xc0);
  out(0x01, 0x00);
  out(0x0b, 0x22);
  wait_for_timer();
  EXPECT_EQ(line_.edges(), 0u);
  wait_for_timer();
  EXPECT_EQ(line_.edges(), 1u);
}

TEST_F(RtcTest, AlarmInBinaryAndTwelveHours) {
  out(0x0b, 0x04);
  out(0x05, 12);  // midnight
  out(0x03, 0);
  out(0x01, 0);
  out(0x0b, 0x24);
  wait_for_timer();
  EXPECT_EQ(line_.edges(), 0u);
  wait_for_timer();
  EXPECT_EQ(line_.edges(), 1u);
}

TEST_F(RtcTest, AlarmThatPassedWhileNobodyLookedIsFlagged) {
  out(0x0a, 0x20);  // no periodic events
  out(0x05, 0x03);
  out(0x03, 0x00);
  out(0x01, 0x00);
  in(0x0c);
  g_time_of_day += int64_t{4} * 3600 * 1'000'000;
  EXPECT_EQ(in(0x0c), 0x30);  // not enabled, so no request
  EXPECT_EQ(line_.edges(), 0u);
}

TEST_F(RtcTest, PeriodicInterruptHasTheRateOfRegisterA) {
  out(0x0a, 0x2f);  // 2 Hz
  out(0x0b, 0x42);
  EXPECT_EQ(timer_.delay, std::chrono::milliseconds(500));
  wait_for_timer();
  EXPECT_EQ(line_.take_edges(), 1u);
  EXPECT_EQ(in(0x0c) & 0xc0, 0xc0);
  EXPECT_EQ(timer_.delay, std::chrono::milliseconds(500));
  out(0x0a, 0x26);  // 1024 Hz
  EXPECT_EQ(timer_.delay, std::chrono::nanoseconds(976'562));
  out(0x0a, 0x20);  // none
  EXPECT_FALSE(timer_.delay);
}

TEST_F(RtcTest, AClockThatIsBeingSetHasNoUpdates) {
  out(0x0a, 0x20);  // no periodic events
  out(0x0b, 0x92);
  EXPECT_FALSE(timer_.delay);
  g_time_of_day += 5'000'000;
  EXPECT_EQ(in(0x0c), 0x00);
  out(0x0b, 0x12);
  EXPECT_EQ(in(0x0c), 0x00);
}

TEST_F(RtcTest, StateIsTakenBack) {
  out(0x0a, 0x20);  // no periodic events
  out(0x01, 0x30);
  out(0x09, 0x31);
  out(0x44, 0x5a);
  out(0x0b, 0x12);
  wait_for_timer();
  rtc_.save(out_);
  const std::vector<uint8_t> bytes = std::move(out_).finish();
  g_time_of_day += 10'000'000;

  hull::testing::FakeLine line;
  hull::testing::FakeTimer timer;
  RtcCmos restored({}, line, timer, kClocks);
  StateReader reader(bytes);
  ASSERT_TRUE(restored.load(reader));
  ASSERT_TRUE(reader.end());
  EXPECT_EQ(line.edges(), 0u);  // the request stands, its edge has been delivered
  EXPECT_EQ(hull::testing::in8(restored, 0), 0x0b);
  hull::testing::out8(restored, 0, 0x0c);
  EXPECT_EQ(hull::testing::in8(restored, 1), 0x90);
  EXPECT_TRUE(timer.delay);
  hull::testing::out8(restored, 0, 0x09);
  EXPECT_EQ(hull::testing::in8(restored, 1), 0x31);
  hull::testing::out8(restored, 0, 0x00);
  EXPECT_EQ(hull::testing::in8(restored, 1), 0x09);  // the clock went on
  hull::testing::out8(restored, 0, 0x44);
  EXPECT_EQ(hull::testing::in8(restored, 1), 0x5a);
}

}  // namespace
}  // namespace hull::devices
