#include "tools/hull/archive/tar_header.h"

#include <gtest/gtest.h>

#include "tools/hull/job_disks.h"

namespace hull::cli {
namespace {

TEST(TarHeader, SurvivesTheWayIntoABlockAndBack) {
  const TarHeader header{.name = "dir/file",
                         .target = "other",
                         .mode = 0751,
                         .size = 12345,
                         .mtime = 1'700'000'000,
                         .type = '2'};
  const auto read = decode(encode(header));
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->name, "dir/file");
  EXPECT_EQ(read->target, "other");
  EXPECT_EQ(read->mode, 0751u);
  EXPECT_EQ(read->size, 12345u);
  EXPECT_EQ(read->mtime, 1'700'000'000);
  EXPECT_EQ(read->type, '2');
}

// 8 GiB and more do not fit into eleven octal digits.
TEST(TarHeader, LargeSizesAreNumbersOfBase256) {
  for (const uint64_t size : {(uint64_t{1} << 33) - 1, uint64_t{1} << 33, uint64_t{1} << 50}) {
    const auto block = encode({.name = "large", .size = size});
    EXPECT_EQ(static_cast<unsigned char>(block[124]), size >> 33 == 0 ? '7' : 0x80);
    EXPECT_EQ(decode(block)->size, size);
  }
}

TEST(TarHeader, NameOf255BytesIsSplitAtASlash) {
  const std::string name = std::string(155, 'd') + "/" + std::string(99, 'f');
  ASSERT_TRUE(tar_name_fits(name));
  EXPECT_EQ(decode(encode({.name = name}))->name, name);
  EXPECT_FALSE(tar_name_fits(std::string(101, 'f')));
  EXPECT_FALSE(tar_name_fits(std::string(156, 'd') + "/f"));
  EXPECT_FALSE(tar_name_fits(std::string(120, 'd') + "/"));
}

TEST(TarHeader, ChangedByteIsNoticed) {
  auto block = encode({.name = "file"});
  block[3] ^= 1;
  EXPECT_EQ(decode(block).error().kind(), ErrorKind::kInvalidFormat);
}

TEST(JobStatus, IsANumberUpTo255AndNothingElse) {
  EXPECT_EQ(parse_status("0"), 0u);
  EXPECT_EQ(parse_status("255\n"), 255u);
  EXPECT_EQ(parse_status(std::string_view(" 7\r\n\0\0\0", 7)), 7u);
  for (const char* text :
       {"", "\n", "256", "-1", "+1", "0x1", "1 2", "one", "99999999999999999999"})
    EXPECT_EQ(parse_status(text), std::nullopt) << text;
}

}  // namespace
}  // namespace hull::cli
