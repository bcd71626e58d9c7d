#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

#include "base/check.h"
#include "config/reader_parts.h"
#include "config/value_rows.h"
#include "config/values.h"

namespace hull::config {

namespace {

bool is_one_of(std::string_view value, std::string_view words, char separator) {
  for (;;) {
    const size_t end = words.find(separator);
    if (words.substr(0, end) == value) return true;
    if (end == std::string_view::npos) return false;
    words.remove_prefix(end + 1);
  }
}

bool is_number(std::string_view text) {
  if (parse_document_number(text)) return true;
  if (!text.starts_with("0x") && !text.starts_with("0X")) return false;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data() + 2, text.data() + text.size(), number, 16);
  return error == std::errc() && end == text.data() + text.size();
}

bool is_integer(std::string_view text) {
  return is_number(text.starts_with('-') ? text.substr(1) : text);
}

bool consists_of(std::string_view text, std::string_view characters) {
  return !text.empty() && text.find_first_not_of(characters) == std::string_view::npos;
}

bool is_address(std::string_view text) {
  unsigned char bytes[sizeof(in6_addr)];
  const std::string terminated(text.substr(0, INET6_ADDRSTRLEN));
  return ::inet_pton(AF_INET, terminated.c_str(), bytes) == 1 ||
         ::inet_pton(AF_INET6, terminated.c_str(), bytes) == 1;
}

bool is_wwn(std::string_view text) {
  if (text.starts_with("0x")) text.remove_prefix(2);
  return text.size() == 16 && consists_of(text, "0123456789abcdefABCDEF");
}

// The shape only: what a headless guest's password expires at is nobody's concern here.
bool is_date(std::string_view text) {
  constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd";
  if (text.size() < kShape.size()) return false;
  return std::ranges::equal(kShape, text.substr(0, kShape.size()), [](char shape, char c) {
    return shape == 'd' ? c >= '0' && c <= '9' : shape == c;
  });
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

bool is_taken(const ValueRow& row, std::string_view value) {
  switch (row.kind) {
    case ValueKind::kWords: return is_one_of(value, row.words, '|');
    case ValueKind::kOnOff: return value == "on" || value == "off";
    case ValueKind::kYesNo: return value == "yes" || value == "no";
    case ValueKind::kNumber: return is_number(value);
    case ValueKind::kInteger: return is_integer(value);
    case ValueKind::kUnit: return value.empty() || bytes_per_unit(value).has_value();
    case ValueKind::kCpus: return highest_cpu(value).has_value();
    case ValueKind::kPath: return value.starts_with('/');
    case ValueKind::kUuid: return parse_uuid(value).has_value();
    case ValueKind::kMac: return parse_mac(value).has_value();
    case ValueKind::kAddress: return is_address(value);
    case ValueKind::kWwn: return is_wwn(value);
    case ValueKind::kUsbPort: return consists_of(value, "0123456789.xabcdefABCDEF-");
    case ValueKind::kDate: return is_date(value);
    case ValueKind::kAtMostCharacters: return characters(value) <= parse_number(row.words);
    case ValueKind::kExactlyCharacters: return characters(value) == parse_number(row.words);
  }
  return true;
}

std::string what_is_wrong(const ValueRow& row) {
  std::string words(row.words);
  for (size_t bar = words.find('|'); bar != std::string::npos; bar = words.find('|', bar))
    words.replace(bar, 1, ", ");
  switch (row.kind) {
    case ValueKind::kWords: return fmt::format("is not one of {}", words);
    case ValueKind::kOnOff: return "is neither on nor off";
    case ValueKind::kYesNo: return "is neither yes nor no";
    case ValueKind::kNumber: return "is not a number";
    case ValueKind::kInteger: return "is not an integer";
    case ValueKind::kUnit: return "is not a unit such as KiB, MiB or GiB";
    case ValueKind::kCpus: return "is not a list of CPUs such as 0-3,^2";
    case ValueKind::kPath: return "is not an absolute path";
    case ValueKind::kUuid: return "is not a UUID";
    case ValueKind::kMac: return "is not a MAC address such as 52:54:00:12:34:56";
    case ValueKind::kAddress: return "is not an IP address";
    case ValueKind::kWwn: return "is not a world wide name of 16 hexadecimal digits";
    case ValueKind::kUsbPort: return "is not a port such as 1.2";
    case ValueKind::kDate: return "is not a date such as 2026-11-30T19:58:35";
    case ValueKind::kAtMostCharacters: return fmt::format("has more than {} characters", words);
    case ValueKind::kExactlyCharacters: return fmt::format("has not {} characters", words);
  }
  return {};
}

// `path` ends in "/" + one of `nodes`.
bool ends_in_one_of(std::string_view path, std::string_view nodes) {
  for (;;) {
    const size_t end = nodes.find(' ');
    const std::string_view node = nodes.substr(0, end);
    if (path.ends_with(node) && path[path.size() - node.size() - 1] == '/') return true;
    if (end == std::string_view::npos) return false;
    nodes.remove_prefix(end + 1);
  }
}

bool speaks_of(const ValueRow& row, std::string_view path) {
  constexpr std::string_view kDevices = "/domain/devices/";
  if (row.base == "*") return path.starts_with(kDevices) && ends_in_one_of(path, row.nodes);
  if (!path.starts_with(row.base)) return false;
  if (path.size() == row.base.size()) return is_one_of(".", row.nodes, ' ');
  return path[row.base.size()] == '/' &&
         is_one_of(path.substr(row.base.size() + 1), row.nodes, ' ');
}

const ValueRow* find_row(std::string_view path) {
  const ValueRow* general = nullptr;
  for (const auto group : value_groups())
    for (const ValueRow& row : group)
      if (speaks_of(row, path)) {
        if (row.base != "*") return &row;
        general = &row;
      }
  return general;
}

void check(const std::string& path, std::string_view value, const XmlElement& element,
           std::string_view attribute, Findings& findings) {
  const ValueRow* row = find_row(path);
  if (row != nullptr && !is_taken(*row, value))
    findings.bad_value(element, attribute, value, what_is_wrong(*row));
}

}  // namespace

std::span<const std::span<const ValueRow>> value_groups() {
  static const std::span<const ValueRow> groups[] = {domain_values(), disk_values(),
                                                     device_values()};
  return groups;
}

std::string_view to_string(ValueKind kind) {
  switch (kind) {
    case ValueKind::kWords: return "words";
    case ValueKind::kOnOff: return "on-off";
    case ValueKind::kYesNo: return "yes-no";
    case ValueKind::kNumber: return "number";
    case ValueKind::kInteger: return "integer";
    case ValueKind::kUnit: return "unit";
    case ValueKind::kCpus: return "cpus";
    case ValueKind::kPath: return "path";
    case ValueKind::kUuid: return "uuid";
    case ValueKind::kMac: return "mac";
    case ValueKind::kAddress: return "address";
    case ValueKind::kWwn: return "wwn";
    case ValueKind::kUsbPort: return "usb-port";
    case ValueKind::kDate: return "date";
    case ValueKind::kAtMostCharacters: return "at-most-characters";
    case ValueKind::kExactlyCharacters: return "exactly-characters";
  }
  CHECK(false);
}

void check_values(const XmlElement& element, Findings& findings) {
  const std::string path = verdict_path(element, {});
  for (const XmlAttribute& attribute : element.attributes)
    if (attribute.name.namespace_uri.empty())
      check(path + "/@" + attribute.name.local, attribute.value, element, attribute.name.local,
            findings);
  if (const std::string_view text = element.trimmed_text(); !text.empty())
    check(path, text, element, {}, findings);
  for (const auto& child : element.children) check_values(*child, findings);
}

}  // namespace hull::config
