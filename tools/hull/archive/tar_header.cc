#include "tools/hull/archive/tar_header.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

namespace hull::cli {

namespace {

struct TarField {
  size_t at, size;
};
// POSIX.1-2017, pax, table "ustar Header Block".
constexpr TarField kTarName{0, 100}, kTarMode{100, 8}, kTarUid{108, 8}, kTarGid{116, 8},
    kTarSize{124, 12};
constexpr TarField kTarMtime{136, 12}, kTarChecksum{148, 8}, kTarType{156, 1}, kTarTarget{157, 100};
constexpr TarField kTarMagic{257, 6}, kTarVersion{263, 2}, kTarPrefix{345, 155};
constexpr std::string_view kUstarMagic("ustar\0",
                                       6);  // GNU's own has a space in the place of the zero
constexpr unsigned char kBase256 = 0x80;    // in the first byte of a number
constexpr unsigned kPermissionBits = 07777;

std::string text_in(const TarBlock& block, TarField field) {
  const char* const begin = block.data() + field.at;
  return {begin, std::find(begin, begin + field.size, '\0')};
}

void put_text(TarBlock& block, TarField field, std::string_view value) {
  value.copy(block.data() + field.at, field.size);
}

void put_number(TarBlock& block, TarField field, uint64_t value) {
  const std::string octal = fmt::format("{:0{}o}", value, field.size - 1);
  if (octal.size() < field.size) return put_text(block, field, octal);
  for (size_t i = field.size; i-- > 1; value >>= 8)
    block[field.at + i] = static_cast<char>(value & 0xff);
  block[field.at] = static_cast<char>(kBase256);
}

// Absent: no number, or one that is negative or does not fit.
std::optional<uint64_t> number_in(const TarBlock& block, TarField field) {
  const char* const begin = block.data() + field.at;
  uint64_t value = 0;
  if ((static_cast<unsigned char>(*begin) & kBase256) != 0) {
    if (static_cast<unsigned char>(*begin) != kBase256) return {};
    for (size_t i = 1; i < field.size; ++i) {
      if (value >> 55 != 0) return {};
      value = value << 8 | static_cast<unsigned char>(begin[i]);
    }
    return value;
  }
  size_t i = 0;
  while (i < field.size && begin[i] == ' ') ++i;
  for (; i < field.size && begin[i] >= '0' && begin[i] <= '7'; ++i)
    value = value << 3 | static_cast<uint64_t>(begin[i] - '0');  // 12 digits fit
  if (i < field.size && begin[i] != ' ' && begin[i] != '\0') return {};
  return value;
}

// The field itself counts as spaces. Old programs added signed bytes up.
uint64_t checksum_of(const TarBlock& block, bool with_sign) {
  int64_t total = 0;
  for (size_t i = 0; i < block.size(); ++i) {
    const bool blank = i >= kTarChecksum.at && i < kTarChecksum.at + kTarChecksum.size;
    const char byte = blank ? ' ' : block[i];
    total += with_sign ? static_cast<signed char>(byte) : static_cast<unsigned char>(byte);
  }
  return static_cast<uint64_t>(total);
}

// Where the name is divided into prefix and name; 0: it fits as it is. Absent: it does not.
std::optional<size_t> split_name(const std::string& name) {
  if (name.size() <= kTarName.size) return 0;
  const size_t slash = name.rfind('/', kTarPrefix.size);
  if (slash == std::string::npos || slash == 0 || name.size() - slash - 1 > kTarName.size ||
      slash + 1 == name.size())
    return {};
  return slash;
}

}  // namespace

bool tar_name_fits(const std::string& name) { return split_name(name).has_value(); }
bool tar_target_fits(const std::string& target) { return target.size() <= kTarTarget.size; }
bool is_zero(const TarBlock& block) {
  return std::all_of(block.begin(), block.end(), [](char byte) { return byte == 0; });
}

TarBlock encode(const TarHeader& header) {
  TarBlock block{};
  const size_t slash = split_name(header.name).value_or(0);
  put_text(block, kTarPrefix, std::string_view(header.name).substr(0, slash));
  put_text(block, kTarName, std::string_view(header.name).substr(slash == 0 ? 0 : slash + 1));
  put_number(block, kTarMode, header.mode & kPermissionBits);
  put_number(block, kTarUid, 0);
  put_number(block, kTarGid, 0);
  put_number(block, kTarSize, header.size);
  put_number(block, kTarMtime, static_cast<uint64_t>(std::max<int64_t>(header.mtime, 0)));
  block[kTarType.at] = header.type;
  put_text(block, kTarTarget, header.target);
  put_text(block, kTarMagic, kUstarMagic);
  put_text(block, kTarVersion, "00");
  put_text(block, kTarChecksum, fmt::format("{:06o}", checksum_of(block, false)));
  block[kTarChecksum.at + 7] = ' ';
  return block;
}

Result<TarHeader> decode(const TarBlock& block) {
  const auto checksum = number_in(block, kTarChecksum);
  if (!checksum ||
      (*checksum != checksum_of(block, false) && *checksum != checksum_of(block, true)))
    return fail(ErrorKind::kInvalidFormat, "is not the header of a file in a tar archive");
  const auto size = number_in(block, kTarSize);
  if (!size) return fail(ErrorKind::kInvalidFormat, "a file's size is no number");
  TarHeader header{.name = text_in(block, kTarName), .target = text_in(block, kTarTarget)};
  const bool posix = std::string_view(block.data() + kTarMagic.at, kTarMagic.size) == kUstarMagic;
  if (const std::string prefix = posix ? text_in(block, kTarPrefix) : ""; !prefix.empty())
    header.name = prefix + "/" + header.name;
  header.size = *size;
  header.mode = static_cast<uint32_t>(number_in(block, kTarMode).value_or(0) & kPermissionBits);
  header.mtime = static_cast<int64_t>(number_in(block, kTarMtime).value_or(0));
  header.type = block[kTarType.at];
  return header;
}

}  // namespace hull::cli
