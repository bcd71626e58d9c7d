#include "blockcore/engine/iovecs.h"

#include <gtest/gtest.h>

#include <numeric>

#include "blockcore/backing_name.h"

namespace hull::blockcore {
namespace {

class Iovecs : public ::testing::Test {
 protected:
  Iovecs() {
    std::iota(memory_.begin(), memory_.end(), uint8_t{1});
    for (size_t at = 0; at < memory_.size(); at += 10) list_.push_back({memory_.data() + at, 10});
  }
  std::vector<uint8_t> memory_ = std::vector<uint8_t>(200);
  std::vector<iovec> list_;
};

TEST_F(Iovecs, PartBeginsAndEndsInsidePieces) {
  const IovecPart part(list_, 15, 20);
  ASSERT_EQ(part.buffers().size(), 3U);
  EXPECT_EQ(part.buffers()[0].iov_base, memory_.data() + 15);
  EXPECT_EQ(part.buffers()[0].iov_len, 5U);
  EXPECT_EQ(part.buffers()[2].iov_len, 5U);
  EXPECT_EQ(total_bytes(part.buffers()), 20U);
}

TEST_F(Iovecs, PartOfManyPiecesKeepsThemAll) {
  const IovecPart part(list_, 1, 198);
  EXPECT_EQ(part.buffers().size(), 20U);
  EXPECT_EQ(total_bytes(part.buffers()), 198U);
  EXPECT_EQ(part.buffers()[19].iov_base, memory_.data() + 190);
}

TEST_F(Iovecs, LimitShortensThePart) {
  const IovecPart part(list_, 0, 200, 12);
  EXPECT_EQ(part.buffers().size(), 12U);
  EXPECT_EQ(total_bytes(part.buffers()), 120U);
}

TEST_F(Iovecs, CopiesAreInverse) {
  std::vector<std::byte> data(77);
  copy_from_iovecs(list_, 33, data);
  EXPECT_EQ(data[0], std::byte{34});
  zero_iovecs(list_, 33, 77);
  EXPECT_EQ(memory_[32], 33);
  EXPECT_EQ(memory_[33], 0);
  EXPECT_EQ(memory_[109], 0);
  EXPECT_EQ(memory_[110], 111);
  copy_to_iovecs(list_, 33, data);
  EXPECT_EQ(memory_[109], 110);
}

TEST_F(Iovecs, ZeroTestSeesEveryByte) {
  std::vector<uint8_t> zeros(1000);
  const iovec whole{zeros.data(), zeros.size()};
  EXPECT_TRUE(is_zero({&whole, 1}));
  EXPECT_TRUE(is_zero(std::as_bytes(std::span(zeros))));
  for (const size_t at : {0U, 1U, 62U, 63U, 64U, 500U, 999U}) {
    zeros[at] = 1;
    EXPECT_FALSE(is_zero({&whole, 1})) << at;
    EXPECT_FALSE(is_zero(std::as_bytes(std::span(zeros)))) << at;
    zeros[at] = 0;
  }
}

TEST(BackingName, IsRelativeToTheImage) {
  EXPECT_EQ(resolve_backing_name("/a/b/top", "base").value(), "/a/b/base");
  EXPECT_EQ(resolve_backing_name("/a/b/top", "../base").value(), "/a/b/../base");
  EXPECT_EQ(resolve_backing_name("/a/b/top", "/base").value(), "/base");
  EXPECT_EQ(resolve_backing_name("top", "base").value(), "base");
  EXPECT_EQ(resolve_backing_name("/a/top", "file:base").value(), "/a/base");
  EXPECT_EQ(resolve_backing_name("/a/top", "./od:d").value(), "/a/./od:d");
}

TEST(BackingName, AnythingButAPathIsRefused) {
  for (const std::string_view name : {"json:{}", "nbd:host:1", "http://host/x", "rbd:pool/x"})
    EXPECT_EQ(resolve_backing_name("/a", name).error().kind(), ErrorKind::kUnsupported) << name;
  EXPECT_EQ(resolve_backing_name("/a", "").error().kind(), ErrorKind::kInvalidFormat);
  EXPECT_EQ(resolve_backing_name("/a", std::string_view("a\0b", 3)).error().kind(),
            ErrorKind::kInvalidFormat);
}

}  // namespace
}  // namespace hull::blockcore
