#include "base/log.h"

#include <unistd.h>

#include <cerrno>
#include <string>

namespace hull {

namespace {

std::atomic<LogLevel> g_level{LogLevel::kWarn};

constexpr std::string_view name_of(LogLevel level) {
  switch (level) {
    case LogLevel::kError: return "error: ";
    case LogLevel::kWarn: return "warning: ";
    case LogLevel::kInfo: return "info: ";
    case LogLevel::kDebug: return "debug: ";
  }
  return "";
}

}  // namespace

void set_log_level(LogLevel level) { g_level.store(level, std::memory_order_relaxed); }
LogLevel log_level() { return g_level.load(std::memory_order_relaxed); }

void log_line(LogLevel level, std::string_view message) {
  std::string line(name_of(level));
  for (const char c : message) {
    // File names and documents are hostile: no escape sequence of theirs reaches the terminal.
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    else
      line += c;
  }
  line += '\n';
  while (::write(STDERR_FILENO, line.data(), line.size()) < 0 && errno == EINTR) {
  }
}

bool LogLimiter::admit(uint32_t& suppressed) {
  const int64_t now = std::chrono::duration_cast<std::chrono::seconds>(
                          std::chrono::steady_clock::now().time_since_epoch())
                          .count();
  int64_t start = window_start_seconds_.load(std::memory_order_relaxed);
  if (now - start >= 10 &&
      window_start_seconds_.compare_exchange_strong(start, now, std::memory_order_relaxed))
    count_.store(0, std::memory_order_relaxed);
  if (count_.fetch_add(1, std::memory_order_relaxed) < kBurst) {
    suppressed = suppressed_.exchange(0, std::memory_order_relaxed);
    return true;
  }
  suppressed_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

}  // namespace hull
