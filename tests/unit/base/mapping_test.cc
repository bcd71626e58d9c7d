#include "base/mapping.h"

#include <gtest/gtest.h>

#include "base/unique_fd.h"

namespace hull {
namespace {

TEST(Mapping, AnonymousMemoryIsZeroAndWritable) {
  auto mapping = Mapping::anonymous(8192);
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->size(), 8192u);
  EXPECT_EQ(mapping->bytes()[8191], 0);
  mapping->bytes()[8191] = 1;
}

TEST(Mapping, MoveTransfersTheRange) {
  Mapping first = std::move(*Mapping::anonymous(4096));
  first.data()[0] = 7;
  Mapping second = std::move(first);
  EXPECT_EQ(second.data()[0], 7);
  Mapping third;
  third = std::move(second);
  EXPECT_EQ(third.data()[0], 7);
  EXPECT_EQ(third.size(), 4096u);
}

TEST(Mapping, FileContentIsSeen) {
  const UniqueFd fd = std::move(*open_file("/proc/self/exe", O_RDONLY));
  auto mapping = Mapping::of_file(fd.get(), 0, 4, PROT_READ, MAP_PRIVATE);
  ASSERT_TRUE(mapping);
  EXPECT_EQ(mapping->bytes()[1], 'E');
}

TEST(Mapping, ImpossibleSizesAreErrors) {
  EXPECT_FALSE(Mapping::anonymous(0));
  EXPECT_FALSE(Mapping::anonymous(SIZE_MAX));
  EXPECT_FALSE(Mapping::of_file(-1, 0, 4096, PROT_READ, MAP_PRIVATE));
}

}  // namespace
}  // namespace hull
