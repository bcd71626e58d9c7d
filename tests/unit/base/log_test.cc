#include "base/log.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace hull {
namespace {

class Collector : public LogSink {
 public:
  Collector() { set_log_sink(this); }
  ~Collector() override { set_log_sink(nullptr); }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;
  void write(LogLevel level, std::string_view message) override {
    levels.push_back(level);
    messages.emplace_back(message);
  }
  std::vector<LogLevel> levels;
  std::vector<std::string> messages;
};

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

TEST(Log, SinkGetsMessagesInsteadOfStandardError) {
  ::testing::internal::CaptureStderr();
  {
    Collector collector;
    LOG_WARN("a {}\n", "name");
    EXPECT_EQ(collector.messages, std::vector<std::string>{"a name\\x0a"});
    EXPECT_EQ(collector.levels, std::vector<LogLevel>{LogLevel::kWarn});
  }
  LOG_WARN("after");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "warning: after\n");
}

TEST(Log, MessagesAreBounded) {
  Collector collector;
  LOG_WARN("{}", std::string(1 << 20, 'x'));
  EXPECT_LT(collector.messages.at(0).size(), 17U << 10);
  EXPECT_TRUE(collector.messages.at(0).ends_with("x…"));
}

TEST(LogLimiter, BurstThenSilenceThenCount) {
  LogLimiter limiter;
  uint32_t suppressed = 99;
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(limiter.admit_at("vda", 1000, suppressed));
  EXPECT_EQ(suppressed, 0u);
  for (int i = 0; i < 7; ++i) EXPECT_FALSE(limiter.admit_at("vda", 1009, suppressed));
  EXPECT_TRUE(limiter.admit_at("vda", 1010, suppressed));
  EXPECT_EQ(suppressed, 7u);
  EXPECT_TRUE(limiter.admit_at("vda", 1010, suppressed));
  EXPECT_EQ(suppressed, 0u);
}

TEST(LogLimiter, FirstMessageAfterBootIsAdmitted) {
  LogLimiter limiter;
  uint32_t suppressed = 0;
  EXPECT_TRUE(limiter.admit_at("vda", 0, suppressed));
}

TEST(LogLimiter, OneSourceDoesNotHideAnother) {
  LogLimiter limiter;
  uint32_t suppressed = 0;
  for (int i = 0; i < 100; ++i) limiter.admit_at("vda", 1000, suppressed);
  EXPECT_TRUE(limiter.admit_at("vdb", 1000, suppressed));
  EXPECT_EQ(suppressed, 0u) << "those of the other";
  EXPECT_FALSE(limiter.admit_at("vda", 1000, suppressed));
}

TEST(LogLimiter, ManySourcesAreLimitedTogether) {
  LogLimiter limiter;
  uint32_t suppressed = 0;
  unsigned admitted = 0;
  for (int i = 0; i < 10'000; ++i)
    admitted += limiter.admit_at(std::to_string(i), 1000, suppressed) ? 1 : 0;
  EXPECT_LE(admitted, LogLimiter::kMaxSources * LogLimiter::kBurst);
  EXPECT_TRUE(limiter.admit_at("new", 1010, suppressed)) << "the silent ones make room";
}

TEST(LogLimiter, MacroLimitsEachSourceOfOneCallSite) {
  Collector collector;
  for (int i = 0; i < 100; ++i) {
    const std::string_view source = i % 2 == 0 ? "vda" : "vdb";
    LOG_LIMITED(LogLevel::kError, source, "{}: guest did it", source);
  }
  EXPECT_EQ(collector.messages.size(), 10U);
}

}  // namespace
}  // namespace hull
