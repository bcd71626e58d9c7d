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

// With residues that no kernel would choose by itself.
TEST(Mapping, LiesWhereItIsWanted) {
  constexpr size_t kAlignment = 2 << 20;
  std::vector<Mapping> mappings;
  for (const uint64_t residue : {0x0ULL, 0x1000ULL, 0x123000ULL, 0x1ff000ULL, 0xfffc0000ULL})
    for (const size_t size : {size_t{4096}, size_t{3 << 20}, size_t{17 << 20}}) {
      mappings.push_back(
          Mapping::anonymous(size, {.alignment_bytes = kAlignment, .residue = residue}).value());
      EXPECT_EQ(residue_of(mappings.back(), kAlignment), residue % kAlignment);
      mappings.back().bytes()[0] = 1;
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
    const Mapping mapping =
        Mapping::anonymous(1 << 20, {.alignment_bytes = 1 << 30, .residue = 0x5000}).value();
    EXPECT_EQ(residue_of(mapping, 1 << 30), 0x5000U);
    EXPECT_LT(address_space() - before, 1024U) << "pages";
  }
  EXPECT_LT(address_space() - before, 1024U) << "pages";
}

TEST(Mapping, FileLiesWhereItIsWanted) {
  const UniqueFd fd = std::move(*open_file("/proc/self/exe", O_RDONLY));
  const Mapping mapping = Mapping::of_file(fd.get(), 0, 8192, PROT_READ, MAP_PRIVATE,
                                           {.alignment_bytes = 2 << 20, .residue = 0x7000})
                              .value();
  EXPECT_EQ(residue_of(mapping, 2 << 20), 0x7000U);
  EXPECT_EQ(mapping.bytes()[1], 'E');
}

TEST(Mapping, HugePagesAreMappedAndUnmappedWhole) {
  if (default_huge_page_bytes() == 0) GTEST_SKIP() << "this kernel has no huge pages";
  // More often than any pool has pages, if one has any; none is lost.
  for (int i = 0; i < 2000; ++i) {
    const auto mapping = Mapping::huge_pages((1 << 20) + 4096);
    if (!mapping) {
      EXPECT_EQ(i, 0) << mapping.error().message();
      EXPECT_EQ(mapping.error().kind(), ErrorKind::kHost);
      break;
    }
    EXPECT_EQ(residue_of(*mapping, default_huge_page_bytes()), 0U);
    EXPECT_EQ(mapping->size(), (1U << 20) + 4096);
  }
}

TEST(Mapping, ImpossibleSizesAreErrors) {
  EXPECT_FALSE(Mapping::anonymous(0));
  EXPECT_FALSE(Mapping::anonymous(SIZE_MAX));
  EXPECT_FALSE(Mapping::anonymous(SIZE_MAX - 4096, {.alignment_bytes = 2 << 20}));
  EXPECT_FALSE(Mapping::of_file(-1, 0, 4096, PROT_READ, MAP_PRIVATE));
}

}  // namespace
}  // namespace hull
