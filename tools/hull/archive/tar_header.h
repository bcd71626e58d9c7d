// One header of a tar archive: POSIX.1-2017, pax, "ustar Interchange Format", with GNU's base-256
// numbers, which every tar in use knows.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "base/result.h"

namespace hull::cli {

inline constexpr uint64_t kTarBlock = 512;

struct TarHeader {
  std::string name{};    // as far as it fits
  std::string target{};  // of a link, as far as it fits
  uint32_t mode = 0;     // permission bits
  uint64_t size = 0;     // of what follows, in bytes
  int64_t mtime = 0;     // seconds since 1970
  char type = '0';
};

using TarBlock = std::array<char, kTarBlock>;

// `name` has to fit: tar_name_fits().
TarBlock encode(const TarHeader& header);
// Up to 100 bytes, or up to 255 if a slash stands in the right place.
bool tar_name_fits(const std::string& name);
bool tar_target_fits(const std::string& target);

// kInvalidFormat: no header, or a damaged one.
Result<TarHeader> decode(const TarBlock& block);
bool is_zero(const TarBlock& block);

// What follows a header of `size` bytes, in whole blocks.
inline uint64_t in_blocks(uint64_t size) { return (size + kTarBlock - 1) / kTarBlock * kTarBlock; }

}  // namespace hull::cli
