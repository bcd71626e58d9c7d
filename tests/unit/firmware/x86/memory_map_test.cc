#include "firmware/x86/memory_map.h"

namespace hull::firmware {
namespace {

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kGiB = 1 << 30;

GuestMemory two_regions() {
  const MemoryRegion ranges[] = {{GuestAddress{0}, 64 * kMiB}, {GuestAddress{4 * kGiB}, 32 * kMiB}};
  auto memory = GuestMemory::create(ranges);
  CHECK(memory.has_value());
  return std::move(*memory);
}

TEST(MemoryMap, RegionsAboveTheGapAreListed) {
  const GuestMemory memory = two_regions();
  const MemoryMap map(memory, Platform{});
  ASSERT_EQ(map.entries().size(), 4u);
  EXPECT_EQ(map.entries()[2].start, kMiB);
  EXPECT_EQ(map.entries()[2].size_bytes, 63 * kMiB);
  EXPECT_EQ(map.entries()[3].start, 4 * kGiB);
  EXPECT_EQ(map.entries()[3].size_bytes, 32 * kMiB);
}

TEST(MemoryMap, ReservedRangeInRamSplitsIt) {
  const GuestMemory memory = two_regions();
  Platform platform;
  platform.reserved = {{GuestAddress{2 * kMiB}, 4096}};
  const MemoryMap map(memory, platform);
  ASSERT_EQ(map.entries().size(), 6u);
  EXPECT_EQ(map.entries()[2].size_bytes, kMiB);
  EXPECT_EQ(map.entries()[3].start, 2 * kMiB);
  EXPECT_EQ(map.entries()[3].type, MemoryType::kReserved);
  EXPECT_EQ(map.entries()[4].start, 2 * kMiB + 4096);
  EXPECT_FALSE(map.is_ram(2 * kMiB, 1));
  EXPECT_FALSE(map.is_ram(2 * kMiB - 1, 2));
  EXPECT_TRUE(map.is_ram(2 * kMiB - 1, 1));
}

TEST(MemoryMap, ReservedRangeOutsideRamIsListedOnly) {
  const GuestMemory memory = two_regions();
  Platform platform;
  platform.reserved = {{GuestAddress{0xfffbc000}, 0x4000}};
  const MemoryMap map(memory, platform);
  ASSERT_EQ(map.entries().size(), 5u);
  EXPECT_EQ(map.entries()[3].start, 0xfffbc000u);
  EXPECT_EQ(map.entries()[3].type, MemoryType::kReserved);
  EXPECT_EQ(map.entries()[4].start, 4 * kGiB);
}

TEST(MemoryMap, RangesThatLeaveAnEntryAreNotRam) {
  const GuestMemory memory = two_regions();
  const MemoryMap map(memory, Platform{});
  EXPECT_TRUE(map.is_ram(kMiB, 63 * kMiB));
  EXPECT_FALSE(map.is_ram(kMiB, 63 * kMiB + 1));
  EXPECT_FALSE(map.is_ram(kMiB - 1, 2));
  EXPECT_FALSE(map.is_ram(0xf0000, 1));
  EXPECT_FALSE(map.is_ram(kMiB, ~0ull));
  EXPECT_FALSE(map.is_ram(~0ull, 2));
}

TEST(MemoryMap, PlaceHighPrefersTheTopAndAlignsDown) {
  const GuestMemory memory = two_regions();
  const MemoryMap map(memory, Platform{});
  EXPECT_EQ(map.place_high(1, 0, 4 * kGiB), 64 * kMiB - 4096);
  EXPECT_EQ(map.place_high(4097, 0, 4 * kGiB), 64 * kMiB - 8192);
  EXPECT_EQ(map.place_high(1, 0, ~0ull), 4 * kGiB + 32 * kMiB - 4096);
  EXPECT_EQ(map.place_high(1, 0, 10 * kMiB + 5), 10 * kMiB);
}

TEST(MemoryMap, PlaceHighRefusesWhatDoesNotFit) {
  const GuestMemory memory = two_regions();
  const MemoryMap map(memory, Platform{});
  EXPECT_EQ(map.place_high(32 * kMiB, 32 * kMiB, 4 * kGiB), 32 * kMiB);
  EXPECT_EQ(map.place_high(32 * kMiB + 1, 32 * kMiB, 4 * kGiB), std::nullopt);
  // Fits in bytes, but not at a page boundary.
  EXPECT_EQ(map.place_high(4096, 32 * kMiB + 1, 32 * kMiB + 4098), std::nullopt);
  EXPECT_EQ(map.place_high(1, 64 * kMiB, 4 * kGiB), std::nullopt);
  EXPECT_EQ(map.place_high(~0ull, 0, ~0ull), std::nullopt);
}

}  // namespace
}  // namespace hull::firmware
