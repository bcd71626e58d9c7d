#include "config/values.h"

#include <algorithm>
#include <charconv>
#include <span>
#include <utility>

#include "base/checked.h"

namespace hull::config {

namespace {

// Longer words are quoted up to here in messages.
constexpr size_t kQuotedBytes = 64;

std::string_view beginning(std::string_view text) { return text.substr(0, kQuotedBytes); }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) c = lower(c);
  return result;
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  const char small = lower(c);
  return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

template <class Value, size_t kCount>
Result<Value> choose(std::string_view what, std::string_view text,
                     const Word<Value> (&words)[kCount]) {
  std::string known;
  for (const Word<Value>& candidate : words) {
    if (candidate.word == text) return candidate.value;
    known += known.empty() ? "" : ", ";
    known += candidate.word;
  }
  return fail(ErrorKind::kInvalidConfig, "{} '{}' is not one of {}", what, beginning(text), known);
}

}  // namespace

std::optional<uint64_t> parse_number(std::string_view text) {
  if (text.empty() || !is_digit(text.front())) return std::nullopt;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

std::optional<uint64_t> parse_document_number(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  text.remove_prefix(std::min(first, text.size()));
  if (text.starts_with('+')) text.remove_prefix(1);
  return parse_number(text);
}

std::optional<uint64_t> bytes_per_unit(std::string_view unit) {
  if (unit.empty() || unit.size() > 5) return std::nullopt;
  const std::string word = lower(unit);
  if (word == "b" || word == "byte" || word == "bytes") return 1;
  constexpr std::string_view kPrefixes = "kmgtpe";
  const size_t power = kPrefixes.find(word.front());
  if (power == std::string_view::npos) return std::nullopt;
  const std::string_view rest = std::string_view(word).substr(1);
  if (!rest.empty() && rest != "ib" && rest != "b") return std::nullopt;
  const uint64_t step = rest == "b" ? 1000 : 1024;
  uint64_t bytes = step;
  for (size_t i = 0; i < power; ++i) bytes *= step;
  return bytes;
}

Result<uint64_t> parse_size(std::string_view text, uint64_t default_unit) {
  size_t digits = 0;
  while (digits < text.size() && is_digit(text[digits])) ++digits;
  const auto number = parse_number(text.substr(0, digits));
  std::string_view unit = text.substr(digits);
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  const auto scale =
      unit.empty() && digits == text.size() ? std::optional(default_unit) : bytes_per_unit(unit);
  if (digits == 0 || !scale)
    return fail(ErrorKind::kInvalidConfig, "'{}' is not a size such as 512M or 2GiB",
                beginning(text));
  const auto bytes = number ? checked_multiply(*number, *scale) : std::nullopt;
  if (!bytes) return fail(ErrorKind::kInvalidConfig, "'{}' is too large", beginning(text));
  return *bytes;
}

std::optional<unsigned> highest_cpu(std::string_view list) {
  constexpr uint64_t kMaxCpu = 16383;  // far beyond any host, and below what overflows
  std::optional<unsigned> highest;
  for (bool more = true; more;) {
    const size_t comma = list.find(',');
    std::string_view range = list.substr(0, comma);
    more = comma != std::string_view::npos;
    list.remove_prefix(more ? comma + 1 : list.size());
    const bool excluded = range.starts_with('^');
    if (excluded) range.remove_prefix(1);
    const size_t dash = excluded ? std::string_view::npos : range.find('-');
    const auto first = parse_document_number(range.substr(0, dash));
    const auto last =
        dash == std::string_view::npos ? first : parse_document_number(range.substr(dash + 1));
    if (!first || !last || *first > *last || *last > kMaxCpu) return std::nullopt;
    if (!excluded) highest = std::max(highest.value_or(0), static_cast<unsigned>(*last));
  }
  return highest;
}

Result<MacAddress> parse_mac(std::string_view text) {
  MacAddress mac{};
  bool valid = true;
  std::string_view rest = text;
  for (size_t i = 0; valid && i < mac.size(); ++i) {
    const size_t end = std::min(rest.find_first_of(":-"), rest.size());
    unsigned octet = 0;
    const auto [stop, error] = std::from_chars(rest.data(), rest.data() + end, octet, 16);
    valid = (end == 1 || end == 2) && error == std::errc() && stop == rest.data() + end &&
            (end == rest.size()) == (i + 1 == mac.size());
    mac[i] = static_cast<uint8_t>(octet);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (!valid)
    return fail(ErrorKind::kInvalidConfig, "'{}' is not a MAC address such as 52:54:00:12:34:56",
                beginning(text));
  if ((mac[0] & 1) != 0)
    return fail(ErrorKind::kInvalidConfig, "MAC address '{}' is multicast: no station can have it",
                text);
  if (mac == MacAddress{})
    return fail(ErrorKind::kInvalidConfig, "MAC address '{}' is all zero", text);
  return mac;
}

std::string format_mac(const MacAddress& mac) {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", mac[0], mac[1], mac[2], mac[3],
                     mac[4], mac[5]);
}

Result<CacheMode> parse_cache_mode(std::string_view text) {
  if (text == "default") return CacheMode::kWriteback;
  return choose("cache mode", text, kCacheModeWords);
}

Result<DiskFormat> parse_disk_format(std::string_view text) {
  return choose("disk format", text, kDiskFormatWords);
}

Result<DiscardMode> parse_discard(std::string_view text) {
  return choose("discard mode", text, kDiscardModeWords);
}

Result<DetectZeroes> parse_detect_zeroes(std::string_view text) {
  return choose("detect_zeroes", text, kDetectZeroesWords);
}

Result<std::string> parse_uuid(std::string_view text) {
  std::string canonical;
  bool valid = text.size() <= 64;
  size_t digits = 0;
  for (size_t i = 0; valid && i < text.size(); ++i) {
    if (text[i] == '-') continue;
    valid = hex_value(text[i]) >= 0 && ++digits <= 32;
    if (digits == 9 || digits == 13 || digits == 17 || digits == 21) canonical += '-';
    canonical += lower(text[i]);
  }
  if (!valid || digits != 32)
    return fail(ErrorKind::kInvalidConfig, "'{}' is not a UUID", beginning(text));
  return canonical;
}

std::string secret_id(std::string_view text) {
  constexpr size_t kUuidBytes = 36;
  if (text.size() == kUuidBytes)
    if (auto uuid = parse_uuid(text)) return *std::move(uuid);
  return std::string(text);
}

void set_kernel(BootConfig& boot, std::string_view kernel) {
  boot.kind = kernel == kBuiltinGuestKernel ? BootKind::kBuiltinGuest : BootKind::kKernel;
  boot.kernel = kernel;
}

}  // namespace hull::config
