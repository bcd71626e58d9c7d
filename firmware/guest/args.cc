#include "firmware/guest/args.h"

namespace hull::guest {

std::string_view drop(std::string_view text, size_t count) {
  if (count >= text.size()) return {};
  return {text.data() + count, text.size() - count};
}

bool split(std::string_view& rest, char separator, std::string_view& part) {
  if (rest.empty()) return false;
  size_t length = 0;
  while (length < rest.size() && rest[length] != separator) length++;
  part = rest;
  part.remove_suffix(rest.size() - length);  // not substr(), which needs exceptions
  rest = drop(rest, length + 1);
  return true;
}

uint64_t to_number(std::string_view text) {
  uint64_t base = 10;
  if (text.starts_with("0x")) {
    base = 16;
    text = drop(text, 2);
  }
  uint64_t value = 0;
  for (char c : text) {
    uint64_t digit = base;
    if (c >= '0' && c <= '9') digit = static_cast<uint64_t>(c - '0');
    if (c >= 'a' && c <= 'f') digit = static_cast<uint64_t>(c - 'a') + 10;
    if (c >= 'A' && c <= 'F') digit = static_cast<uint64_t>(c - 'A') + 10;
    if (digit < base) {
      value = value * base + digit;
      continue;
    }
    if (c == 'k' || c == 'K') return value << 10;
    if (c == 'M') return value << 20;
    if (c == 'G') return value << 30;
    return 0;
  }
  return value;
}

uint32_t to_ipv4(std::string_view text) {
  uint32_t address = 0;
  int parts = 0;
  std::string_view part;
  while (split(text, '.', part)) {
    address = (address << 8) | (static_cast<uint32_t>(to_number(part)) & 0xff);
    parts++;
  }
  return parts == 4 ? address : 0;
}

Args::Args(std::string_view text) : rest_(text) { split(rest_, ',', program_); }

bool Args::find(std::string_view key, std::string_view& value) const {
  std::string_view rest = rest_;
  std::string_view item;
  while (split(rest, ',', item)) {
    std::string_view name;
    split(item, '=', name);
    if (name != key) continue;
    value = item;
    return true;
  }
  return false;
}

std::string_view Args::text(std::string_view key, std::string_view otherwise) const {
  std::string_view value = otherwise;
  find(key, value);
  return value;
}

uint64_t Args::number(std::string_view key, uint64_t otherwise) const {
  std::string_view value;
  return find(key, value) ? to_number(value) : otherwise;
}

bool Args::has(std::string_view key) const {
  std::string_view value;
  return find(key, value);
}

}  // namespace hull::guest
