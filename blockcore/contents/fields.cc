#include "blockcore/contents/fields.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "base/endian.h"
#include "base/text.h"

namespace hull::blockcore {
namespace {

std::string shown(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  while (text.ends_with(' ')) text.remove_suffix(1);
  return printable(text);
}

void append_utf8(std::string& text, uint32_t code) {
  const auto put = [&text](uint32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) return put(code);
  if (code < 0x800) {
    put(0xc0 | code >> 6);
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
  }
  put(0x80 | (code & 0x3f));
}

bool is_high_surrogate(uint32_t unit) { return unit >= 0xd800 && unit < 0xdc00; }
bool is_low_surrogate(uint32_t unit) { return unit >= 0xdc00 && unit < 0xe000; }

// Digits of the bytes in this order, with hyphens where a UUID has them.
std::string uuid_text(const std::array<uint8_t, 16>& bytes) {
  if (std::ranges::all_of(bytes, [](uint8_t byte) { return byte == 0; })) return "";
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i)
    text += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
  return text;
}

}  // namespace

std::string Fields::text(size_t offset, size_t length) const {
  std::string text;
  for (size_t i = 0; i < length; ++i) text += static_cast<char>(byte(offset + i));
  return shown(text);
}

std::string Fields::text16(size_t offset, size_t length) const {
  std::string text;
  for (size_t i = 0; i + 2 <= length; i += 2) {
    uint32_t code = at<Le16>(offset + i).get();
    if (code == 0) break;
    const uint32_t next = i + 4 <= length ? at<Le16>(offset + i + 2).get() : 0U;
    if (is_high_surrogate(code) && is_low_surrogate(next)) {
      code = 0x10000 + ((code & 0x3ff) << 10) + (next & 0x3ff);
      i += 2;
    } else if (is_high_surrogate(code) || is_low_surrogate(code)) {
      code = 0xfffd;  // half a character
    }
    append_utf8(text, code);
  }
  return shown(text);
}

std::string Fields::uuid(size_t offset) const {
  std::array<uint8_t, 16> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = byte(offset + i);
  return uuid_text(bytes);
}

std::string Fields::guid(size_t offset) const {
  constexpr std::array<size_t, 16> kOrder = {3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15};
  std::array<uint8_t, 16> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = byte(offset + kOrder[i]);
  return uuid_text(bytes);
}

}  // namespace hull::blockcore
