// Diagnostics, one line each, on stderr or to a sink. error: what you asked for did not happen.
// warn: odd but harmless. info: rare changes of state. debug: for developers (`--debug`). Libraries
// return errors instead; only vmm/ and device workers log, once. What a guest, a client or a disk
// can cause again and again goes through LOG_LIMITED.
//
// Logging never waits: neither a vCPU nor the way out stands still because nobody reads stderr
// (base/line_writer.h).
#pragma once

#include <fmt/core.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "base/text.h"

namespace hull {

enum class LogLevel : uint8_t { kError, kWarn, kInfo, kDebug };

// Messages above the level are not formatted. Default kWarn. Set before threads start.
void set_log_level(LogLevel level);
LogLevel log_level();

// Where messages go instead of stderr, for programs that embed hull.
class LogSink {
 public:
  virtual ~LogSink() = default;
  // `message` is printable(), without a newline. Any thread, several at a time; must not block.
  virtual void write(LogLevel level, std::string_view message) = 0;
};
// Of the whole process; borrowed until the next call. null: stderr.
void set_log_sink(LogSink* sink);

// "LEVEL: MESSAGE\n", the message as printable() shows it and of a bounded length. Never waits.
void log_line(LogLevel level, std::string_view message);

// Gives stderr's reader at most a second to take what was logged: the last thing in a program.
void flush_log();

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (level <= log_level()) log_line(level, fmt::format(format, std::forward<Args>(args)...));
}

// At most `kBurst` messages in any ten seconds from one call site about one source, then silence
// with a count.
class LogLimiter {
 public:
  static constexpr uint32_t kBurst = 5;
  static constexpr size_t kMaxSources = 32;  // further ones share the last place

  // True if the message may be printed; `suppressed` is how many about `source` were not since the
  // last one. Any thread.
  bool admit(std::string_view source, uint32_t& suppressed);
  // With the seconds of any steady clock, from 0.
  bool admit_at(std::string_view source, int64_t now_seconds, uint32_t& suppressed);

 private:
  struct Window {
    size_t source = 0;  // a hash
    int64_t start_seconds = -100;
    uint32_t count = 0;
    uint32_t suppressed = 0;
  };
  Window& window_of(size_t source, int64_t now_seconds) REQUIRES(mutex_);

  Mutex mutex_;
  std::array<Window, kMaxSources> windows_ GUARDED_BY(mutex_);
};

}  // namespace hull

#define LOG_ERROR(...) ::hull::log(::hull::LogLevel::kError, __VA_ARGS__)
#define LOG_WARN(...) ::hull::log(::hull::LogLevel::kWarn, __VA_ARGS__)
#define LOG_DEBUG(...) ::hull::log(::hull::LogLevel::kDebug, __VA_ARGS__)

// LOG_LIMITED(level, source, format, …): `source` is the device, domain or server it is about.
#define LOG_LIMITED(level, source, ...)                                                        \
  do {                                                                                         \
    static ::hull::LogLimiter hull_limiter;                                                    \
    uint32_t hull_suppressed = 0;                                                              \
    if (level <= ::hull::log_level() && hull_limiter.admit(source, hull_suppressed)) {         \
      ::hull::log(level, __VA_ARGS__);                                                         \
      if (hull_suppressed != 0)                                                                \
        ::hull::log(level, "({} messages like the one above were left out)", hull_suppressed); \
    }                                                                                          \
  } while (false)
