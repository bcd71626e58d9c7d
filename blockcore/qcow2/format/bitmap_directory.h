// The directory of persistent dirty bitmaps: docs/interop/qcow2, "Bitmaps extension", "Bitmaps".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "blockcore/file/file.h"
#include "blockcore/qcow2/format/header.h"

namespace hull::blockcore::qcow2 {

inline constexpr uint32_t kMaxBitmaps = 65535;
inline constexpr uint64_t kMaxBitmapDirectoryBytes = 64 << 20;
inline constexpr uint64_t kMaxBitmapTableBytes = 64 << 20;
inline constexpr uint32_t kMaxBitmapNameBytes = 1023;
inline constexpr uint32_t kMinBitmapGranularityBits = 9;
inline constexpr uint32_t kMaxBitmapGranularityBits = 31;

struct Bitmap {
  std::string name = {};
  uint64_t table_offset = 0;
  uint32_t table_entries = 0;
  bool in_use = false;   // was not stored after the last change: says nothing
  bool enabled = false;  // writes of the guest are recorded
  bool extra_is_compatible = false;
  uint32_t granularity_bits = 16;  // a bit stands for 1 << this many bytes
  std::vector<std::byte> extra = {};
};

struct BitmapDirectory {
  std::vector<Bitmap> bitmaps;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

// Bytes of a bitmap's data, and clusters that they fill.
uint64_t bitmap_bytes(uint64_t disk_bytes, uint32_t granularity_bits);
uint32_t bitmap_table_entries(const Header& header, const Bitmap& bitmap);

// What the header's extension points at; empty if there is none, or if the autoclear bit says that
// another program has written to the image and the bitmaps mean nothing. Every field is checked.
Task<Result<BitmapDirectory>> read_bitmap_directory(File& file, const Header& header);

// kOutOfRange if there are too many.
Result<std::vector<std::byte>> encode_bitmap_directory(const std::vector<Bitmap>& bitmaps);

// The extension, and the autoclear bit that makes it valid; neither for no bitmaps.
void set_bitmaps(Header& header, uint64_t directory_offset, uint64_t directory_bytes, size_t count);

}  // namespace hull::blockcore::qcow2
