// Numbers and sizes of attributes and texts.
#include "base/checked.h"
#include "config/reader_parts.h"
#include "config/values.h"

namespace hull::config {

namespace {

constexpr uint64_t kKiB = 1024;

std::string_view what_is_wrong(std::string_view digits) {
  if (digits.empty()) return "is empty: a whole number is wanted";
  if (digits.front() == '-') return "is negative";
  if (digits.find_first_not_of("+0123456789") == std::string_view::npos) return "is too large";
  return "is not a whole number";
}

std::string quoted(std::string_view text) {
  constexpr size_t kShownBytes = 32;
  return fmt::format("'{}{}'", text.substr(0, kShownBytes), text.size() > kShownBytes ? "…" : "");
}

}  // namespace

std::optional<uint64_t> read_size(const XmlElement& element, std::string_view attribute,
                                  std::string_view default_unit, Findings& findings) {
  const std::string_view digits =
      attribute.empty() ? element.trimmed_text() : trim(element.value(attribute));
  const auto number = parse_document_number(digits);
  std::string_view unit_name = element.value("unit");
  if (unit_name.empty()) unit_name = default_unit;
  const auto unit = bytes_per_unit(unit_name);
  if (!unit) {
    findings.invalid(element, "unit",
                     fmt::format("{} is not a unit such as KiB, MiB or GiB", quoted(unit_name)));
    return std::nullopt;
  }
  if (!number) {
    findings.invalid(element, attribute,
                     fmt::format("{} {}", quoted(digits), what_is_wrong(digits)));
    return std::nullopt;
  }
  const auto bytes = checked_multiply(*number, *unit);
  if (!bytes || *bytes > UINT64_MAX - kKiB) {
    findings.invalid(element, attribute,
                     fmt::format("{} {} is more than can be counted in bytes", *number, unit_name));
    return std::nullopt;
  }
  return bytes;
}

std::optional<uint64_t> read_memory_size(const XmlElement& element, std::string_view attribute,
                                         Findings& findings) {
  const auto bytes = read_size(element, attribute, "KiB", findings);
  return bytes ? std::optional(align_up(*bytes, kKiB)) : std::nullopt;
}

std::optional<uint64_t> read_number(const XmlElement& element, std::string_view attribute,
                                    uint64_t minimum, uint64_t maximum, Findings& findings) {
  const std::string* text = element.attribute(attribute);
  if (text == nullptr) return std::nullopt;
  const auto number = parse_document_number(*text);
  if (number && *number >= minimum && *number <= maximum) return number;
  findings.invalid(element, attribute,
                   number ? fmt::format("{} is not in {} to {}", *number, minimum, maximum)
                          : fmt::format("{} {} ({} to {})", quoted(*text), what_is_wrong(*text),
                                        minimum, maximum));
  return std::nullopt;
}

}  // namespace hull::config
