#include "devices/bus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace hull::devices {
namespace {

// Answers reads with its tag and remembers the last offset.
class TaggedDevice final : public BusDevice {
 public:
  explicit TaggedDevice(uint8_t tag) : tag_(tag) {}
  std::string_view name() const override { return "tagged"; }
  void read(uint64_t offset, std::span<uint8_t> data) override {
    offset_ = offset;
    std::ranges::fill(data, tag_);
  }
  void write(uint64_t offset, std::span<const uint8_t> data) override {
    offset_ = offset;
    written_.assign(data.begin(), data.end());
  }

  uint8_t tag_;
  uint64_t offset_ = ~uint64_t{0};
  std::vector<uint8_t> written_;
};

TEST(Bus, AccessReachesDeviceWithRelativeOffset) {
  Bus bus;
  TaggedDevice low(1);
  TaggedDevice high(2);
  bus.add(0x200, 8, high);
  bus.add(0x100, 8, low);
  uint8_t data[2] = {};
  EXPECT_TRUE(bus.read(0x106, data));
  EXPECT_EQ(data[1], 1);
  EXPECT_EQ(low.offset_, 6u);
  EXPECT_TRUE(bus.write(0x200, data));
  EXPECT_EQ(high.offset_, 0u);
  EXPECT_EQ(high.written_.size(), 2u);
}

TEST(Bus, ReadOfNothingIsAllOnes) {
  Bus bus;
  TaggedDevice device(1);
  bus.add(0x100, 8, device);
  uint8_t data[4] = {};
  EXPECT_FALSE(bus.read(0xff, {data, 1}));
  EXPECT_EQ(data[0], 0xff);
  EXPECT_FALSE(bus.read(0x108, {data, 1}));
  EXPECT_FALSE(bus.write(0x108, {data, 1}));
  EXPECT_EQ(device.offset_, ~uint64_t{0});
}

TEST(Bus, AccessAcrossTheEndIsClaimedByNobody) {
  Bus bus;
  TaggedDevice device(1);
  TaggedDevice neighbour(2);
  bus.add(0x100, 8, device);
  bus.add(0x108, 8, neighbour);
  uint8_t data[4] = {};
  EXPECT_FALSE(bus.read(0x106, data));
  EXPECT_EQ(data[0], 0xff);
  EXPECT_FALSE(bus.read(0xfe, data));
}

TEST(Bus, LastByteOfAddressSpaceWorks) {
  Bus bus;
  TaggedDevice device(7);
  bus.add(UINT64_MAX - 7, 8, device);
  uint8_t data[8] = {};
  EXPECT_TRUE(bus.read(UINT64_MAX - 7, data));
  EXPECT_TRUE(bus.read(UINT64_MAX, {data, 1}));
  EXPECT_FALSE(bus.read(UINT64_MAX, data));
}

TEST(BusDeathTest, OverlapIsOurBug) {
  Bus bus;
  TaggedDevice device(1);
  bus.add(0x100, 8, device);
  EXPECT_DEATH(bus.add(0x107, 1, device), "check failed");
  EXPECT_DEATH(bus.add(0xff, 2, device), "check failed");
  EXPECT_DEATH(bus.add(0x100, 8, device), "check failed");
  EXPECT_DEATH(bus.add(UINT64_MAX, 2, device), "check failed");
  EXPECT_DEATH(bus.add(0x300, 0, device), "check failed");
}

}  // namespace
}  // namespace hull::devices
