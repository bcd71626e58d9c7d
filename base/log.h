// Diagnostics on stderr, one line each. error: what you asked for did not happen. warn: odd but
// harmless. info: rare changes of state. debug: for developers (`--debug`). Libraries return errors
// instead; only vmm/ and device workers log, once. What a guest can trigger goes through
// LOG_LIMITED.
#pragma once

#include <fmt/core.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace hull {

enum class LogLevel : uint8_t { kError, kWarn, kInfo, kDebug };

// Messages above the level are not formatted. Default kWarn. Set before threads start.
void set_log_level(LogLevel level);
LogLevel log_level();

// Writes "LEVEL: MESSAGE\n" with one write(2), the message as printable() shows it.
void log_line(LogLevel level, std::string_view message);

// File names, documents and guests are hostile: control characters (also C1 ones, which terminals
// obey too) and what is not UTF-8 become \xNN; the rest stays.
std::string printable(std::string_view text);

template <class... Args>
void log(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
  if (level <= log_level()) log_line(level, fmt::format(format, std::forward<Args>(args)...));
}

// At most `kBurst` messages in any ten seconds from one call site, then silence with a count.
class LogLimiter {
 public:
  // True if the message may be printed; `suppressed` is how many were not since the last one.
  bool admit(uint32_t& suppressed);
  bool admit_at(int64_t now_seconds, uint32_t& suppressed);  // of any steady clock, from 0

 private:
  static constexpr uint32_t kBurst = 5;
  std::atomic<int64_t> window_start_seconds_{-100};
  std::atomic<uint32_t> count_{0};
  std::atomic<uint32_t> suppressed_{0};
};

}  // namespace hull

#define LOG_ERROR(...) ::hull::log(::hull::LogLevel::kError, __VA_ARGS__)
#define LOG_WARN(...) ::hull::log(::hull::LogLevel::kWarn, __VA_ARGS__)
#define LOG_INFO(...) ::hull::log(::hull::LogLevel::kInfo, __VA_ARGS__)
#define LOG_DEBUG(...) ::hull::log(::hull::LogLevel::kDebug, __VA_ARGS__)

#define LOG_LIMITED(level, ...)                                                                \
  do {                                                                                         \
    static ::hull::LogLimiter hull_limiter;                                                    \
    uint32_t hull_suppressed = 0;                                                              \
    if (level <= ::hull::log_level() && hull_limiter.admit(hull_suppressed)) {                 \
      ::hull::log(level, __VA_ARGS__);                                                         \
      if (hull_suppressed != 0)                                                                \
        ::hull::log(level, "({} messages like the one above were left out)", hull_suppressed); \
    }                                                                                          \
  } while (false)
