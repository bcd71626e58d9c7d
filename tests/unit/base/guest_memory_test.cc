#include "base/guest_memory.h"

#include <gtest/gtest.h>

#include <array>

#include "base/endian.h"

namespace hull {
namespace {

constexpr uint64_t kLowSize = 0x10000;
constexpr uint64_t kHighStart = 0x100000;
constexpr uint64_t kHighSize = 0x4000;

class GuestMemoryTest : public ::testing::Test {
 protected:
  static GuestMemory make() {
    const std::array<MemoryRegion, 3> ranges = {{
        {GuestAddress{0}, kLowSize},
        {GuestAddress{kHighStart}, kHighSize},
        {GuestAddress{kHighStart + kHighSize}, kHighSize},  // adjacent, but another region
    }};
    return std::move(*GuestMemory::create(ranges));
  }
  bool has(uint64_t address, uint64_t length) {
    return memory_.slice(GuestAddress{address}, length).has_value();
  }

  GuestMemory memory_ = make();
};

TEST_F(GuestMemoryTest, WholeRegionsAreThere) {
  EXPECT_TRUE(has(0, kLowSize));
  EXPECT_TRUE(has(kHighStart, kHighSize));
  EXPECT_EQ(memory_.ram_bytes(), kLowSize + 2 * kHighSize);
  EXPECT_EQ(memory_.region_count(), 3u);
}

TEST_F(GuestMemoryTest, RangesPastTheEndAreRefused) {
  EXPECT_TRUE(has(kLowSize - 1, 1));
  EXPECT_FALSE(has(kLowSize - 1, 2));
  EXPECT_FALSE(has(0, kLowSize + 1));
  EXPECT_FALSE(has(kLowSize, 1));
  EXPECT_FALSE(has(kHighStart - 1, 2));
}

TEST_F(GuestMemoryTest, RangeAcrossRegionsIsRefusedEvenWithoutGap) {
  EXPECT_FALSE(has(kLowSize - 8, kHighStart));
  EXPECT_FALSE(has(kHighStart + kHighSize - 1, 2));
}

TEST_F(GuestMemoryTest, WrappingRangesAreRefused) {
  EXPECT_FALSE(has(8, UINT64_MAX));
  EXPECT_FALSE(has(8, UINT64_MAX - 7));
  EXPECT_FALSE(has(UINT64_MAX, 1));
  EXPECT_FALSE(has(UINT64_MAX, 2));
  EXPECT_FALSE(has(kHighStart, UINT64_MAX - kHighStart + 1));
}

TEST_F(GuestMemoryTest, LengthZeroIsValidInsideARegionOnly) {
  EXPECT_TRUE(has(0, 0));
  EXPECT_TRUE(has(kLowSize - 1, 0));
  EXPECT_FALSE(has(kLowSize, 0));
  EXPECT_FALSE(has(UINT64_MAX, 0));
}

TEST_F(GuestMemoryTest, ContentStartsAsZeroAndKeepsWhatIsWritten) {
  const GuestSlice slice = *memory_.slice(GuestAddress{0x1000}, 16);
  EXPECT_EQ(slice.read<uint64_t>(), 0u);
  slice.write(3, Le32(0x11223344));
  EXPECT_EQ(slice.read<uint8_t>(3), 0x44);
  EXPECT_EQ(memory_.slice(GuestAddress{0x1003}, 4)->read<Le32>(), 0x11223344u);
}

TEST_F(GuestMemoryTest, CopyFillAndSubslice) {
  const GuestSlice slice = *memory_.slice(GuestAddress{kHighStart}, 8);
  slice.fill(0xee);
  slice.subslice(2, 4).copy_from(std::array<uint8_t, 2>{1, 2});
  std::array<uint8_t, 8> copy{};
  slice.copy_to(copy);
  EXPECT_EQ(copy, (std::array<uint8_t, 8>{0xee, 0xee, 1, 2, 0xee, 0xee, 0xee, 0xee}));
  EXPECT_EQ(slice.subslice(8, 0).size(), 0u);
  EXPECT_EQ(slice.as_iovec().iov_len, 8u);
}

TEST_F(GuestMemoryTest, RingIndicesAreLittleEndianOnThisHost) {
  const GuestSlice slice = *memory_.slice(GuestAddress{0x2000}, 4);
  slice.store_release_u16(2, 0xabcd);
  EXPECT_EQ(slice.load_acquire_u16(2), 0xabcd);
  EXPECT_EQ(slice.read<uint8_t>(2), 0xcd);
}

using GuestMemoryDeathTest = GuestMemoryTest;

TEST_F(GuestMemoryDeathTest, OffsetsOutsideASliceAreOurBug) {
  const GuestSlice slice = *memory_.slice(GuestAddress{0x1000}, 4);
  std::array<uint8_t, 5> buffer{};
  EXPECT_DEATH(slice.read<uint32_t>(1), "check failed");
  EXPECT_DEATH(slice.write(SIZE_MAX, uint8_t{0}), "check failed");
  EXPECT_DEATH(slice.subslice(1, SIZE_MAX), "check failed");
  EXPECT_DEATH(slice.copy_to(buffer), "check failed");
  EXPECT_DEATH(slice.copy_from(buffer), "check failed");
  EXPECT_DEATH(slice.load_acquire_u16(1), "check failed");
}

TEST_F(GuestMemoryDeathTest, RangesThatOverlapOrAreNotPagesAreOurBug) {
  const auto create = [](std::vector<MemoryRegion> ranges) {
    return GuestMemory::create(ranges).has_value();
  };
  EXPECT_DEATH(create({{GuestAddress{0}, 0x2000}, {GuestAddress{0x1000}, 0x1000}}), "check failed");
  EXPECT_DEATH(create({{GuestAddress{0}, 100}}), "check failed");
  EXPECT_DEATH(create({{GuestAddress{0}, 0}}), "check failed");
  EXPECT_DEATH(create({{GuestAddress{UINT64_MAX - 0xfff}, 0x1000}}), "check failed");
}

TEST(GuestMemory, SizeThatDoesNotExistIsAnError) {
  const std::array<MemoryRegion, 1> ranges = {{{GuestAddress{0}, uint64_t{1} << 60}}};
  EXPECT_FALSE(GuestMemory::create(ranges));
}

}  // namespace
}  // namespace hull
