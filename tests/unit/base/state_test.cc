#include "base/state.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

namespace hull {
namespace {

std::vector<uint8_t> sample() {
  StateWriter out;
  {
    const auto device = out.section("serial0", 2);
    out.boolean(true);
    out.u8(0x12);
    out.u16(0x3456);
    out.u32(0x789abcde);
    out.u64(0x0123456789abcdef);
    out.i64(-5);
    out.text("hello");
    {
      const auto queue = out.section("queue", 1);
      out.u16(7);
    }
    const uint32_t object[2] = {1, 2};
    out.object(object);
  }
  {
    const auto empty = out.section("nothing", 1);
  }
  return std::move(out).finish();
}

TEST(State, WhatIsWrittenIsReadBack) {
  const std::vector<uint8_t> bytes = sample();
  StateReader all(bytes);
  auto device = all.section("serial0", 3);
  ASSERT_TRUE(device);
  EXPECT_EQ(device->version(), 2u);
  EXPECT_TRUE(device->boolean());
  EXPECT_EQ(device->u8(), 0x12);
  EXPECT_EQ(device->u16(), 0x3456);
  EXPECT_EQ(device->u32(), 0x789abcdeu);
  EXPECT_EQ(device->u64(), 0x0123456789abcdefu);
  EXPECT_EQ(device->i64(), -5);
  EXPECT_EQ(device->text(5), "hello");
  EXPECT_FALSE(device->next_is("other"));
  EXPECT_TRUE(device->next_is("queue"));
  auto queue = device->section("queue", 1);
  ASSERT_TRUE(queue);
  EXPECT_EQ(queue->u16(), 7);
  EXPECT_TRUE(queue->end());
  struct Two {
    uint32_t a, b;
  };
  const Two two = device->object<Two>();
  EXPECT_EQ(two.a, 1u);
  EXPECT_EQ(two.b, 2u);
  EXPECT_TRUE(device->end());
  auto nothing = all.section("nothing", 1);
  ASSERT_TRUE(nothing);
  EXPECT_TRUE(nothing->end());
  EXPECT_TRUE(all.end());
}

TEST(State, AnUnknownSectionIsAnErrorThatNamesIt) {
  const std::vector<uint8_t> bytes = sample();
  StateReader all(bytes);
  const auto section = all.section("rtc", 1);
  ASSERT_FALSE(section);
  EXPECT_EQ(section.error().kind(), ErrorKind::kCorrupt);
  EXPECT_EQ(section.error().message(),
            "saved state of 'state': section 'serial0' where 'rtc' should be");
  EXPECT_FALSE(all.end());
}

TEST(State, ANewerVersionIsAnError) {
  const std::vector<uint8_t> bytes = sample();
  StateReader all(bytes);
  const auto section = all.section("serial0", 1);
  ASSERT_FALSE(section);
  EXPECT_EQ(section.error().kind(), ErrorKind::kUnsupported);
  EXPECT_NE(section.error().message().find("has version 2, this hull reads 1 to 1"),
            std::string::npos);
}

TEST(State, AMissingSectionIsAnError) {
  StateReader all(std::span<const uint8_t>{});
  EXPECT_FALSE(all.next_is("rtc"));
  const auto section = all.section("rtc", 1);
  ASSERT_FALSE(section);
  EXPECT_EQ(section.error().message(), "saved state of 'state': section 'rtc' is missing");
}

TEST(State, WhatIsLeftOverOrMissingIsAnError) {
  const std::vector<uint8_t> bytes = sample();
  StateReader all(bytes);
  auto device = all.section("serial0", 2);
  ASSERT_TRUE(device);
  const auto unread = device->end();
  ASSERT_FALSE(unread);
  EXPECT_NE(unread.error().message().find("bytes too many"), std::string::npos);

  const uint8_t two[] = {1, 2};
  StateReader in(two);
  EXPECT_EQ(in.u8(), 1);
  EXPECT_EQ(in.u32(), 0u);
  EXPECT_EQ(in.u8(), 0);  // not 2: after a failure nothing is read any more
  const auto short_of = in.end();
  ASSERT_FALSE(short_of);
  EXPECT_NE(short_of.error().message().find("ends too early"), std::string::npos);
}

TEST(State, BoundsHoldBeforeAnythingIsHandedOut) {
  StateWriter out;
  out.u32(17);
  std::vector<uint8_t> number = std::move(out).finish();
  StateReader in(number);
  EXPECT_EQ(in.count(16), 0u);
  EXPECT_FALSE(in.end());
  StateReader exact(number);
  EXPECT_EQ(exact.count(17), 17u);
  EXPECT_TRUE(exact.end());
  // A length of 17 with nothing behind it.
  StateReader bytes(number);
  EXPECT_TRUE(bytes.bytes(1000).empty());
  EXPECT_FALSE(bytes.end());
  StateReader bounded(number);
  EXPECT_TRUE(bounded.bytes(16).empty());
  EXPECT_FALSE(bounded.end());
  const uint8_t not_a_truth_value[] = {2};
  StateReader boolean(not_a_truth_value);
  EXPECT_FALSE(boolean.boolean());
  EXPECT_FALSE(boolean.end());
}

TEST(State, AnObjectOfAnotherSizeIsAnError) {
  StateWriter out;
  out.object(uint32_t{5});
  const std::vector<uint8_t> bytes = std::move(out).finish();
  StateReader in(bytes);
  EXPECT_EQ(in.object<uint64_t>(), 0u);
  const auto end = in.end();
  ASSERT_FALSE(end);
  EXPECT_NE(end.error().message().find("4 bytes where 8 should be"), std::string::npos);
}

TEST(State, RejectKeepsTheFirstComplaint) {
  const uint8_t zero[] = {0};
  StateReader in(zero);
  in.u8();
  in.reject("first");
  in.reject("second");
  const auto end = in.end();
  ASSERT_FALSE(end);
  EXPECT_EQ(end.error().message(), "saved state of 'state': first");
}

// Every truncation and many random changes: an error or other values, never a wrong access.
TEST(State, HostileBytesAreErrors) {
  const auto read_all = [](std::span<const uint8_t> bytes) -> Result<void> {
    StateReader all(bytes);
    StateReader device = TRY(all.section("serial0", 2));
    device.boolean();
    device.u8(), device.u16(), device.u32(), device.u64(), device.i64();
    EXPECT_LE(device.text(16).size(), 16u);
    StateReader queue = TRY(device.section("queue", 1));
    queue.u16();
    TRY(queue.end());
    device.object<uint64_t>();
    TRY(device.end());
    StateReader nothing = TRY(all.section("nothing", 1));
    TRY(nothing.end());
    return all.end();
  };
  const std::vector<uint8_t> good = sample();
  ASSERT_TRUE(read_all(good));
  for (size_t length = 0; length < good.size(); ++length)
    EXPECT_FALSE(read_all(std::span(good).first(length))) << length;
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::vector<uint8_t> bad(good.begin(), good.end());  // on the heap: ASan sees an overrun
    for (int changes = 0; changes < 3; ++changes)
      bad[random() % bad.size()] = static_cast<uint8_t>(random());
    (void)read_all(bad);
  }
}

}  // namespace
}  // namespace hull
