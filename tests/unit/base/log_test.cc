#include "base/log.h"

#include <gtest/gtest.h>

namespace hull {
namespace {

std::string logged(LogLevel level, std::string_view text) {
  ::testing::internal::CaptureStderr();
  log(level, "{}", text);
  return ::testing::internal::GetCapturedStderr();
}

TEST(Log, LevelIsNamedAndLineEnded) {
  EXPECT_EQ(logged(LogLevel::kError, "no such disk"), "error: no such disk\n");
  EXPECT_EQ(logged(LogLevel::kWarn, "odd"), "warning: odd\n");
}

TEST(Log, LevelsAboveTheLimitAreSilent) {
  EXPECT_EQ(logged(LogLevel::kInfo, "x"), "");
  set_log_level(LogLevel::kDebug);
  EXPECT_EQ(logged(LogLevel::kDebug, "x"), "debug: x\n");
  set_log_level(LogLevel::kWarn);
}

TEST(Log, ControlCharactersDoNotReachTheTerminal) {
  EXPECT_EQ(logged(LogLevel::kError, "a\x1b[2Jb\nc\x7f"), "error: a\\x1b[2Jb\\x0ac\\x7f\n");
}

TEST(Printable, Utf8Stays) { EXPECT_EQ(printable("Prüfung – 磁盘 🙂"), "Prüfung – 磁盘 🙂"); }

TEST(Printable, C1ControlsAreEscapedInBothForms) {
  EXPECT_EQ(printable("a\xc2\x9b"
                      "2J"),
            "a\\xc2\\x9b2J");
  EXPECT_EQ(printable("a\x9b"
                      "2J"),
            "a\\x9b2J");
  EXPECT_EQ(printable("\xc2\xa0"), "\xc2\xa0");
}

TEST(Printable, BrokenUtf8IsEscapedByteByByte) {
  EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82");
  EXPECT_EQ(printable("\xc3"
                      "A"),
            "\\xc3A");
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("a\xe2\x80\xae"), "a\\xe2\\x80\\xae");  // U+202E
  EXPECT_EQ(printable("\xe2\x81\xa6\xe2\x80\x94"), "\\xe2\\x81\\xa6\xe2\x80\x94");
  EXPECT_EQ(printable("\xc0\x9b"), "\\xc0\\x9b");
  EXPECT_EQ(printable(""), "");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(LogLimiter, BurstThenSilenceThenCount) {
  LogLimiter limiter;
  uint32_t suppressed = 99;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(limiter.admit_at(1000, suppressed));
  EXPECT_EQ(suppressed, 0u);
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(limiter.admit_at(1009, suppressed));
  EXPECT_TRUE(limiter.admit_at(1010, suppressed));
  EXPECT_EQ(suppressed, 7u);
  EXPECT_TRUE(limiter.admit_at(1010, suppressed));
  EXPECT_EQ(suppressed, 0u);
}

TEST(LogLimiter, FirstMessageAfterBootIsAdmitted) {
  LogLimiter limiter;
  uint32_t suppressed = 0;
  EXPECT_TRUE(limiter.admit_at(0, suppressed));
}

TEST(LogLimiter, MacroLimitsOneCallSite) {
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 100; ++i) LOG_LIMITED(LogLevel::kError, "guest did it");
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 5);
}

}  // namespace
}  // namespace hull
