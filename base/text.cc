#include "base/text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstdint>

namespace hull {

namespace {

struct Character {
  size_t length = 0;  // bytes; 0 if the text does not begin with a character
  uint32_t code = 0;
};

// Of a text that is not empty.
Character first_character(std::string_view text) {
  const auto byte = [text](size_t index) { return static_cast<uint8_t>(text[index]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) return {1, lead};
  const size_t length = lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
  if (length == 0 || length > text.size()) return {};
  uint32_t code = lead & (0x7fU >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3fU);
  }
  const bool overlong = code < (length == 2 ? 0x80U : length == 3 ? 0x800U : 0x10000U);
  const bool surrogate = code >= 0xd800 && code < 0xe000;
  if (overlong || surrogate || code > 0x10ffff) return {};
  return {length, code};
}

struct Range {
  uint32_t first;
  uint32_t last;
};

// Unicode's Cc and Cf, with the separators of lines and paragraphs, and the tags.
constexpr std::array<Range, 15> kHidden{{{0x0, 0x1f},
                                         {0x7f, 0x9f},
                                         {0xad, 0xad},
                                         {0x600, 0x605},
                                         {0x61c, 0x61c},
                                         {0x6dd, 0x6dd},
                                         {0x70f, 0x70f},
                                         {0x180e, 0x180e},
                                         {0x200b, 0x200f},
                                         {0x2028, 0x202e},
                                         {0x2060, 0x206f},
                                         {0xfeff, 0xfeff},
                                         {0xfff9, 0xfffb},
                                         {0x1d173, 0x1d17a},
                                         {0xe0000, 0xe007f}}};

bool is_hidden(uint32_t code) {
  return std::ranges::any_of(
      kHidden, [code](const Range& range) { return code >= range.first && code <= range.last; });
}

}  // namespace

std::string printable(std::string_view text) {
  std::string line;
  line.reserve(text.size());
  while (!text.empty()) {
    const Character character = first_character(text);
    const std::string_view bytes = text.substr(0, std::max<size_t>(character.length, 1));
    if (character.length != 0 && !is_hidden(character.code)) {
      line += bytes;
    } else {
      for (const char c : bytes) line += fmt::format("\\x{:02x}", static_cast<uint8_t>(c));
    }
    text.remove_prefix(bytes.size());
  }
  return line;
}

std::string printable(std::string_view text, size_t limit) {
  if (text.size() <= limit) return printable(text);
  size_t end = limit;
  // Back to where a character begins; what is not UTF-8 has no such place and is cut anywhere.
  for (size_t i = 0; i < 4 && end > 0 && (static_cast<uint8_t>(text[end]) & 0xc0) == 0x80; ++i)
    --end;
  return printable(text.substr(0, end)) + "…";
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = first_character(text).length;
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace hull
