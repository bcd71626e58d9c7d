// Checked arithmetic and integers of stated byte order.
#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"

namespace hull {
namespace {

TEST(Checked, SumsAndProductsThatFitAreGiven) {
  EXPECT_EQ(checked_add<uint32_t>(UINT32_MAX - 1, 1), UINT32_MAX);
  EXPECT_EQ(checked_multiply<uint64_t>(1u << 31, 1u << 31), uint64_t{1} << 62);
}

TEST(Checked, OverflowIsSeen) {
  EXPECT_FALSE(checked_add<uint32_t>(UINT32_MAX, 1));
  EXPECT_FALSE(checked_add<uint64_t>(UINT64_MAX, UINT64_MAX));
  EXPECT_FALSE(checked_multiply<uint64_t>(uint64_t{1} << 33, uint64_t{1} << 31));
  EXPECT_FALSE(checked_add<uint8_t>(200, 100));  // not promoted to int
}

TEST(Checked, RangeFitsWithoutComputingItsEnd) {
  EXPECT_TRUE(range_fits<uint64_t>(0, 10, 10));
  EXPECT_TRUE(range_fits<uint64_t>(10, 0, 10));
  EXPECT_FALSE(range_fits<uint64_t>(11, 0, 10));
  EXPECT_FALSE(range_fits<uint64_t>(1, 10, 10));
  EXPECT_FALSE(range_fits<uint64_t>(5, UINT64_MAX, 10));
  EXPECT_FALSE(range_fits<uint64_t>(UINT64_MAX, 2, 10));
}

TEST(Checked, AlignmentAndDivision) {
  EXPECT_EQ(align_down<uint64_t>(0x1fff, 0x1000), 0x1000u);
  EXPECT_EQ(align_up<uint64_t>(0x1001, 0x1000), 0x2000u);
  EXPECT_EQ(align_up<uint64_t>(0x1000, 0x1000), 0x1000u);
  EXPECT_TRUE(is_aligned<uint32_t>(0, 512));
  EXPECT_FALSE(is_aligned<uint32_t>(513, 512));
  EXPECT_EQ(divide_up<uint64_t>(0, 4), 0u);
  EXPECT_EQ(divide_up<uint64_t>(5, 4), 2u);
  EXPECT_EQ(divide_up<uint64_t>(UINT64_MAX, 2), uint64_t{1} << 63);
}

template <class T>
std::array<unsigned char, sizeof(T)> bytes_of(const T& value) {
  std::array<unsigned char, sizeof(T)> bytes;
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

TEST(Endian, BytesAreInTheStatedOrder) {
  EXPECT_EQ(bytes_of(Le16(0x0102)), (std::array<unsigned char, 2>{2, 1}));
  EXPECT_EQ(bytes_of(Be16(0x0102)), (std::array<unsigned char, 2>{1, 2}));
  EXPECT_EQ(bytes_of(Le32(0x01020304)), (std::array<unsigned char, 4>{4, 3, 2, 1}));
  EXPECT_EQ(bytes_of(Be32(0x01020304)), (std::array<unsigned char, 4>{1, 2, 3, 4}));
  EXPECT_EQ(bytes_of(Be64(0x0102030405060708)),
            (std::array<unsigned char, 8>{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST(Endian, ValueComesBack) {
  EXPECT_EQ(Be64(0x0102030405060708), 0x0102030405060708u);
  EXPECT_EQ(Le64(UINT64_MAX).get(), UINT64_MAX);
}

TEST(Endian, StructOfThemHasNoPadding) {
  struct Header {
    Be16 a;
    Be64 b;
    Le32 c;
  };
  EXPECT_EQ(sizeof(Header), 14u);
}

}  // namespace
}  // namespace hull
