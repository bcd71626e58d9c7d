#include "devices/console/byte_ring.h"

#include <gtest/gtest.h>

#include <string>

namespace hull::devices {
namespace {

std::span<const uint8_t> bytes(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string text_of(const RingView& view) {
  std::string text(view.first.begin(), view.first.end());
  text.append(view.second.begin(), view.second.end());
  return text;
}

TEST(ByteRing, KeepsOrderAcrossTheWrap) {
  ByteRing ring(8);
  EXPECT_EQ(ring.push(bytes("abcdef")), 6u);
  ring.pop(4);
  EXPECT_EQ(ring.push(bytes("ghijk")), 5u);
  EXPECT_EQ(text_of(ring.view()), "efghijk");
  EXPECT_EQ(ring.view().second.size(), 3u);
  EXPECT_EQ(ring.pop_front(), 'e');
}

TEST(ByteRing, TakesOnlyWhatFits) {
  ByteRing ring(4);
  EXPECT_EQ(ring.push(bytes("abcdef")), 4u);
  EXPECT_EQ(ring.room(), 0u);
  EXPECT_FALSE(ring.push('x'));
  EXPECT_EQ(text_of(ring.view()), "abcd");
}

TEST(ByteRing, PushLeavesAnEarlierViewAlone) {
  ByteRing ring(8);
  ring.push(bytes("abc"));
  const RingView view = ring.view();
  ring.push(bytes("def"));
  EXPECT_EQ(text_of(view), "abc");
}

TEST(ByteRing, SkipCrossesThePieces) {
  ByteRing ring(4);
  ring.push(bytes("abc"));
  ring.pop(2);
  ring.push(bytes("def"));
  const RingView view = ring.view();
  EXPECT_EQ(text_of(view.skip(0)), "cdef");
  EXPECT_EQ(text_of(view.skip(3)), "f");
  EXPECT_EQ(view.skip(4).size(), 0u);
}

TEST(ByteRing, EmptyRingStartsOver) {
  ByteRing ring(4);
  ring.push(bytes("abc"));
  ring.clear();
  ring.push(bytes("wxyz"));
  EXPECT_EQ(ring.view().first.size(), 4u);
}

TEST(ByteRingDeathTest, PoppingTooMuchIsOurBug) {
  ByteRing ring(4);
  EXPECT_DEATH(ring.pop(1), "check failed");
  EXPECT_DEATH(ByteRing(3), "check failed");
}

}  // namespace
}  // namespace hull::devices
