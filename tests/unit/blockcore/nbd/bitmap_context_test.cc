#include "blockcore/nbd/bitmap_context.h"

#include <gtest/gtest.h>

#include "tests/support/run_now.h"

namespace hull::blockcore::nbd {
namespace {

using Extents = std::vector<std::pair<uint32_t, uint32_t>>;

// 32 bits of 512 bytes: the bits 1, 2 and 8 to 23 are dirty.
std::unique_ptr<MetaContext> make_context() {
  return make_bitmap_context(
      {.name = "b",
       .bits = {std::byte{6}, std::byte{0xff}, std::byte{0xff}, std::byte{0}},
       .granularity_bits = 9});
}

Extents extents(uint64_t offset, uint32_t length, size_t most = 100) {
  Extents result;
  const auto context = make_context();
  const auto described = testing::run_now(context->extents(offset, length, most));
  for (const ExtentDescriptor& extent : *described)
    result.emplace_back(extent.length, extent.flags);
  return result;
}

TEST(NbdBitmapContext, IsNamedAfterTheBitmap) {
  EXPECT_EQ(make_context()->name(), "qemu:dirty-bitmap:b");
}

TEST(NbdBitmapContext, RunsOfBitsAreExtents) {
  EXPECT_EQ(extents(0, 16'384), (Extents{{512, 0}, {1024, 1}, {2560, 0}, {8192, 1}, {4096, 0}}));
}

TEST(NbdBitmapContext, EndsOfARequestNeedNotBeAligned) {
  EXPECT_EQ(extents(511, 2), (Extents{{1, 0}, {1, 1}}));
  EXPECT_EQ(extents(4097, 100), (Extents{{100, 1}}));
  EXPECT_EQ(extents(16'383, 1), (Extents{{1, 0}}));
}

TEST(NbdBitmapContext, NoMoreExtentsThanAskedFor) {
  EXPECT_EQ(extents(0, 16'384, 1), (Extents{{512, 0}}));
  EXPECT_EQ(extents(100, 16'000, 2), (Extents{{412, 0}, {1024, 1}}));
}

}  // namespace
}  // namespace hull::blockcore::nbd
