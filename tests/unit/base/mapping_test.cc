#include "base/mapping.h"

#include <gtest/gtest.h>

#include <fstream>
#include <vector>

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

uint64_t residue_of(const Mapping& mapping, uint64_t alignment) {
  return reinterpret_cast<uintptr_t>(mapping.data()) % alignment;
}

// Of sizes that no kernel would align by itself.
TEST(Mapping, AnonymousMemoryBeginsAtAHugePage) {
  std::vector<Mapping> mappings;
  for (const size_t size : {size_t{4096}, size_t{3 << 20}, (size_t{17} << 20) + 4096}) {
    mappings.push_back(Mapping::anonymous(size).value());
    EXPECT_EQ(residue_of(mappings.back(), 2 << 20), 0U) << size;
    mappings.back().bytes()[size - 1] = 1;
  }
}

TEST(Mapping, LeavesNothingOfWhatItReserved) {
  const auto address_space = [] {
    std::ifstream statm("/proc/self/statm");
    uint64_t pages = 0;
    statm >> pages;
    return pages;
  };
  const uint64_t before = address_space();
  {
    std::vector<Mapping> mappings;
    for (int i = 0; i < 100; ++i) mappings.push_back(Mapping::anonymous(5000).value());
    EXPECT_LT(address_space() - before, 4096U) << "pages";
  }
  EXPECT_LT(address_space() - before, 4096U) << "pages";
}

// More often than any pool has pages, if one has any: none is lost.
TEST(Mapping, HugePagesAreUnmappedWhole) {
  for (int i = 0; i < 2000; ++i) {
    const auto mapping = Mapping::huge_pages((1 << 20) + 4096);
    if (mapping) continue;
    EXPECT_EQ(i, 0) << mapping.error().message();
    EXPECT_EQ(mapping.error().kind(), ErrorKind::kHost);
    break;
  }
}

TEST(Mapping, ImpossibleSizesAreErrors) {
  EXPECT_FALSE(Mapping::anonymous(0));
  EXPECT_FALSE(Mapping::anonymous(SIZE_MAX));
  EXPECT_FALSE(Mapping::of_file(-1, 0, 4096, PROT_READ, MAP_PRIVATE));
}

}  // namespace
}  // namespace hull
