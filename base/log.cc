#include "base/log.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>

#include "base/line_writer.h"

namespace hull {

namespace {

constexpr size_t kMaxMessageBytes = 16 << 10;
constexpr std::chrono::milliseconds kLastPatience{900};
constexpr int64_t kWindowSeconds = 10;

std::atomic<LogLevel> g_level{LogLevel::kWarn};
std::atomic<LogSink*> g_sink{nullptr};

constexpr std::string_view name_of(LogLevel level) {
  switch (level) {
    case LogLevel::kError: return "error: ";
    case LogLevel::kWarn: return "warning: ";
    case LogLevel::kInfo: return "info: ";
    case LogLevel::kDebug: return "debug: ";
  }
  return "";
}

// Never destroyed: threads may log until the process is gone.
LineWriter& standard_error() {
  static auto* const writer = new LineWriter(STDERR_FILENO);
  return *writer;
}

}  // namespace

void set_log_level(LogLevel level) { g_level.store(level, std::memory_order_relaxed); }
LogLevel log_level() { return g_level.load(std::memory_order_relaxed); }

void set_log_sink(LogSink* sink) { g_sink.store(sink); }

void log_line(LogLevel level, std::string_view message) {
  const std::string shown = printable(message, kMaxMessageBytes);
  if (LogSink* const sink = g_sink.load())
    sink->write(level, shown);
  else
    standard_error().write(fmt::format("{}{}\n", name_of(level), shown));
}

void flush_log() {
  if (g_sink.load() == nullptr) standard_error().flush(kLastPatience);
}

bool LogLimiter::admit(std::string_view source, uint32_t& suppressed) {
  return admit_at(source,
                  std::chrono::duration_cast<std::chrono::seconds>(
                      std::chrono::steady_clock::now().time_since_epoch())
                      .count(),
                  suppressed);
}

bool LogLimiter::admit_at(std::string_view source, int64_t now_seconds, uint32_t& suppressed) {
  const MutexLock lock(mutex_);
  Window& window = window_of(std::hash<std::string_view>()(source), now_seconds);
  if (now_seconds - window.start_seconds >= kWindowSeconds) {
    window.start_seconds = now_seconds;
    window.count = 0;
  }
  if (window.count++ < kBurst) {
    suppressed = std::exchange(window.suppressed, 0);
    return true;
  }
  ++window.suppressed;
  return false;
}

// Its own, or that of a source which has been silent for long.
LogLimiter::Window& LogLimiter::window_of(size_t source, int64_t now_seconds) {
  const auto known = std::ranges::find(windows_, source, &Window::source);
  if (known != windows_.end()) return *known;
  const auto silent = std::ranges::find_if(windows_, [now_seconds](const Window& window) {
    return now_seconds - window.start_seconds >= kWindowSeconds && window.suppressed == 0;
  });
  if (silent == windows_.end()) return windows_.back();
  *silent = Window{.source = source};
  return *silent;
}

}  // namespace hull
