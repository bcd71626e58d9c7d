#include "base/log.h"

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/line_writer.h"

namespace hull {

namespace {

constexpr std::chrono::milliseconds kLastPatience{900};

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

uint8_t byte_at(std::string_view text, size_t index) { return static_cast<uint8_t>(text[index]); }

// Length of the UTF-8 sequence that starts `text` (RFC 3629), 0 if there is none. Overlong forms
// and surrogates pass: they do no harm here.
size_t sequence_length(std::string_view text) {
  const uint8_t lead = byte_at(text, 0);
  const size_t length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (length > text.size() || lead > 0xf4) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((byte_at(text, i) & 0xc0) != 0x80) return 0;
  }
  return length;
}

// Those that end a line or turn the direction of writing around (U+2028, U+202E and the like)
// count.
bool is_control(std::string_view character) {
  const uint8_t first = byte_at(character, 0);
  if (character.size() == 1) return first < 0x20 || first == 0x7f;
  if (first == 0xc2) return byte_at(character, 1) < 0xa0;
  if (character == "\xd8\x9c") return true;  // U+061C
  if (!character.starts_with("\xe2\x80") && !character.starts_with("\xe2\x81")) return false;
  const unsigned code = (unsigned{byte_at(character, 1)} & 0x3f) << 6 |
                        (unsigned{byte_at(character, 2)} & 0x3f) | 0x2000;
  return code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069);
}

// Never destroyed: threads may log until the process is gone. At its end stderr's reader gets a
// while to take what was kept for it.
LineWriter& standard_error() {
  static LineWriter* const writer = [] {
    auto* const made = new LineWriter(STDERR_FILENO);
    std::atexit([] { standard_error().flush(kLastPatience); });
    return made;
  }();
  return *writer;
}

}  // namespace

void set_log_level(LogLevel level) { g_level.store(level, std::memory_order_relaxed); }
LogLevel log_level() { return g_level.load(std::memory_order_relaxed); }

std::string printable(std::string_view text) {
  std::string line;
  line.reserve(text.size());
  while (!text.empty()) {
    const size_t length = sequence_length(text);
    const std::string_view character = text.substr(0, length == 0 ? 1 : length);
    if (length != 0 && !is_control(character)) {
      line += character;
    } else {
      for (const char c : character) line += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    }
    text.remove_prefix(character.size());
  }
  return line;
}

void log_line(LogLevel level, std::string_view message) {
  standard_error().write(fmt::format("{}{}\n", name_of(level), printable(message)));
}

bool LogLimiter::admit(uint32_t& suppressed) {
  return admit_at(std::chrono::duration_cast<std::chrono::seconds>(
                      std::chrono::steady_clock::now().time_since_epoch())
                      .count(),
                  suppressed);
}

bool LogLimiter::admit_at(int64_t now_seconds, uint32_t& suppressed) {
  int64_t start = window_start_seconds_.load(std::memory_order_relaxed);
  if (now_seconds - start >= 10 &&
      window_start_seconds_.compare_exchange_strong(start, now_seconds, std::memory_order_relaxed))
    count_.store(0, std::memory_order_relaxed);
  if (count_.fetch_add(1, std::memory_order_relaxed) < kBurst) {
    suppressed = suppressed_.exchange(0, std::memory_order_relaxed);
    return true;
  }
  suppressed_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

}  // namespace hull
