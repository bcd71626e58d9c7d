#include "base/unique_fd.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <thread>

namespace hull {
namespace {

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

UniqueFd temporary_file() {
  char name[] = "/tmp/hull-fd-XXXXXX";
  UniqueFd fd(::mkostemp(name, O_CLOEXEC));
  ::unlink(name);
  return fd;
}

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

TEST(UniqueFd, ClosesWhenItDies) {
  int number;
  {
    const UniqueFd fd = temporary_file();
    number = fd.get();
    EXPECT_TRUE(is_open(number));
  }
  EXPECT_FALSE(is_open(number));
}

TEST(UniqueFd, MoveLeavesNothingBehind) {
  UniqueFd first = temporary_file();
  const int number = first.get();
  UniqueFd second = std::move(first);
  EXPECT_EQ(second.get(), number);
  UniqueFd third = temporary_file();
  const int closed = third.get();
  third = std::move(second);
  EXPECT_EQ(third.get(), number);
  EXPECT_FALSE(is_open(closed));
}

TEST(UniqueFd, ReleaseGivesUpOwnership) {
  UniqueFd fd = temporary_file();
  const UniqueFd owner(fd.release());
  EXPECT_FALSE(fd.valid());
  EXPECT_TRUE(is_open(owner.get()));
}

TEST(UniqueFd, OpenFileIsCloseOnExecAndNamesThePath) {
  auto fd = open_file("/dev/null", O_RDONLY);
  ASSERT_TRUE(fd);
  EXPECT_EQ(::fcntl(fd->get(), F_GETFD), FD_CLOEXEC);
  auto missing = open_file("/nonexistent/file", O_RDONLY);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message(), "open '/nonexistent/file': No such file or directory");
}

TEST(UniqueFd, ReadAndWriteAtTransferEverything) {
  const UniqueFd fd = temporary_file();
  ASSERT_TRUE(write_all_at(fd.get(), bytes("hello"), 3));
  std::array<char, 5> data{};
  ASSERT_TRUE(read_exact_at(fd.get(), std::as_writable_bytes(std::span(data)), 3));
  EXPECT_EQ(std::string_view(data.data(), data.size()), "hello");
}

TEST(UniqueFd, ShortFileIsOutOfRange) {
  const UniqueFd fd = temporary_file();
  ASSERT_TRUE(write_all_at(fd.get(), bytes("abc"), 0));
  std::array<std::byte, 5> data{};
  auto read = read_exact_at(fd.get(), data, 0);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind(), ErrorKind::kOutOfRange);
  EXPECT_TRUE(read_exact_at(fd.get(), {}, 1000));
}

TEST(UniqueFd, OffsetsBeyondTheSignedRangeFail) {
  const UniqueFd fd = temporary_file();
  std::array<std::byte, 1> data{};
  EXPECT_FALSE(read_exact_at(fd.get(), data, UINT64_MAX));
  EXPECT_FALSE(write_all_at(fd.get(), data, UINT64_MAX));
}

TEST(UniqueFd, WriteToFullDeviceIsNoSpace) {
  const UniqueFd fd = std::move(*open_file("/dev/full", O_WRONLY));
  auto written = write_all(fd.get(), bytes("x"));
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind(), ErrorKind::kNoSpace);
}

TEST(UniqueFd, WriteAllGoesOnAfterAShortWrite) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const UniqueFd reading(pipe[0]);
  UniqueFd writing(pipe[1]);
  const std::string sent(1 << 20, 'x');
  std::thread writer([&] {
    EXPECT_TRUE(write_all(writing.get(), bytes(sent)));
    writing.reset();
  });
  auto read = read_whole(reading.get(), 2 << 20);
  writer.join();
  ASSERT_TRUE(read);
  EXPECT_EQ(*read, sent);
}

TEST(UniqueFd, ReadWholeStopsAtItsLimit) {
  const UniqueFd fd = temporary_file();
  ASSERT_TRUE(write_all_at(fd.get(), bytes("12345"), 0));
  EXPECT_EQ(read_whole(fd.get(), 5).value(), "12345");
  ASSERT_EQ(::lseek(fd.get(), 0, SEEK_SET), 0);
  EXPECT_EQ(read_whole(fd.get(), 4).error().kind(), ErrorKind::kOutOfRange);
}

}  // namespace
}  // namespace hull
