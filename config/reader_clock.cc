// <clock>: what the guest's CMOS clock shows at the start.
#include <charconv>

#include "config/reader_parts.h"

namespace hull::config {

namespace {

// What the clock can be off by: a century (devices/rtc_cmos.h).
constexpr int64_t kMaxOffsetSeconds = int64_t{100} * 366 * 24 * 3600;

std::optional<int64_t> read_seconds(const XmlElement& clock, const char* attribute, int64_t maximum,
                                    Findings& findings) {
  const std::string_view text = clock.value(attribute, "0");
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error == std::errc() && end == text.data() + text.size() && seconds >= -maximum &&
      seconds <= maximum)
    return seconds;
  findings.invalid(clock, attribute, fmt::format("is not a number of seconds up to {}", maximum));
  return std::nullopt;
}

}  // namespace

ClockConfig read_clock_start(const XmlElement& clock, Findings& findings) {
  ClockConfig config;
  const std::string_view offset = clock.value("offset", "utc");
  const std::string_view base = offset == "variable" ? clock.value("basis", "utc") : offset;
  if (base == "localtime") config.base = ClockConfig::Base::kLocaltime;
  if (offset == "absolute") {
    constexpr int64_t kYear2200 = 7'258'118'400;
    config.base = ClockConfig::Base::kAbsolute;
    config.seconds = read_seconds(clock, "start", kYear2200, findings).value_or(0);
  } else if (clock.value("adjustment", "0") != "reset") {
    config.seconds = read_seconds(clock, "adjustment", kMaxOffsetSeconds, findings).value_or(0);
  }
  return config;
}

}  // namespace hull::config
