#include "devices/console/console_log.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <vector>

#include "base/log_rotation.h"
#include "tests/support/temporary_directory.h"

namespace hull::devices {
namespace {

class ConsoleLogTest : public ::testing::Test {
 protected:
  static std::string content(const std::string& name) {
    std::ifstream file(name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // Numbered lines, `bytes` of them altogether.
  std::string write(ConsoleLog& log, size_t bytes) {
    std::string all;
    while (all.size() < bytes) {
      std::string part;
      for (int i = 0; i < 100; ++i) part += fmt::format("line {:010}\n", next_++);
      log.write({reinterpret_cast<const uint8_t*>(part.data()), part.size()});
      all += part;
    }
    return all;
  }

  const testing::TemporaryDirectory directory_;
  const std::string path_ = directory_ / "log";
  unsigned next_ = 0;
};

TEST_F(ConsoleLogTest, OldOnesAreMovedAwayAndNothingIsLostOfTheLast) {
  const auto log = ConsoleLog::open(path_, true).value();
  const std::string all = write(*log, 7 * kMaxLogFileBytes / 2);
  const std::string kept =
      content(path_ + ".2") + content(path_ + ".1") + content(path_ + ".0") + content(path_);
  EXPECT_EQ(kept, all);
  for (const char* name : {"", ".0", ".1", ".2"}) {
    EXPECT_LE(content(path_ + name).size(), kMaxLogFileBytes);
    EXPECT_NE(content(path_ + name), "");
  }
  // However long it goes on.
  const std::string more = write(*log, 9 * kMaxLogFileBytes);
  EXPECT_TRUE(more.ends_with(content(path_ + ".0") + content(path_)));
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory_.path()))
    ++files;
  EXPECT_EQ(files, 1U + kOldLogFiles);
}

TEST_F(ConsoleLogTest, LengthCountsFromRunToRun) {
  write(*ConsoleLog::open(path_, true).value(), kMaxLogFileBytes * 3 / 4);
  write(*ConsoleLog::open(path_, true).value(), kMaxLogFileBytes / 2);
  EXPECT_LE(content(path_).size(), kMaxLogFileBytes);
  EXPECT_NE(content(path_ + ".0"), "");
  write(*ConsoleLog::open(path_, false).value(), 100);
  EXPECT_LT(content(path_).size(), 10000U);
}

// Somebody has put a directory where the old one would go.
TEST_F(ConsoleLogTest, WhatCannotBeMovedIsEmptied) {
  std::filesystem::create_directories(path_ + ".0/in");
  std::filesystem::create_directories(path_ + ".1/in");
  const auto log = ConsoleLog::open(path_, true).value();
  const std::string all = write(*log, 3 * kMaxLogFileBytes);
  EXPECT_LE(content(path_).size(), kMaxLogFileBytes);
  EXPECT_TRUE(all.ends_with(content(path_)));
  EXPECT_NE(content(path_), "");
}

TEST_F(ConsoleLogTest, NobodysFifoIsMoved) {
  ASSERT_EQ(::mkfifo(path_.c_str(), 0600), 0);
  const UniqueFd reader(::open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  {
    const auto log = ConsoleLog::open(path_, true).value();
    write(*log, 2 * kMaxLogFileBytes);
  }
  EXPECT_FALSE(std::filesystem::exists(path_ + ".0"));
}

}  // namespace
}  // namespace hull::devices
