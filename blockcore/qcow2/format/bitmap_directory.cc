#include "blockcore/qcow2/format/bitmap_directory.h"

#include <cstring>

#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/qcow2/format/image_header.h"

namespace hull::blockcore::qcow2 {
namespace {

struct BitmapsLayout {
  Be32 count;             // 0
  Be32 reserved;          // 4
  Be64 directory_bytes;   // 8
  Be64 directory_offset;  // 16
};
static_assert(sizeof(BitmapsLayout) == 24);

struct BitmapLayout {
  Be64 table_offset;               // 0
  Be32 table_entries;              // 8
  Be32 flags;                      // 12
  unsigned char type;              // 16
  unsigned char granularity_bits;  // 17
  Be16 name_bytes;                 // 18
  Be32 extra_bytes;                // 20
};
static_assert(sizeof(BitmapLayout) == 24);

constexpr uint32_t kInUse = 1 << 0;
constexpr uint32_t kAuto = 1 << 1;
constexpr uint32_t kExtraCompatible = 1 << 2;
constexpr unsigned char kDirtyTracking = 1;

std::unexpected<Error> bad_bitmap(size_t index, std::string_view field, uint64_t value) {
  return fail(ErrorKind::kInvalidFormat, "bitmap directory: {} of entry {} is {:#x}", field, index,
              value);
}

Result<void> check_entry(const BitmapLayout& raw, size_t index, const Geometry& geometry) {
  if (raw.flags > (kInUse | kAuto | kExtraCompatible)) return bad_bitmap(index, "flags", raw.flags);
  if (raw.type != kDirtyTracking) return bad_bitmap(index, "type", raw.type);
  if (raw.granularity_bits < kMinBitmapGranularityBits ||
      raw.granularity_bits > kMaxBitmapGranularityBits)
    return bad_bitmap(index, "granularity_bits", raw.granularity_bits);
  if (raw.name_bytes == 0 || raw.name_bytes > kMaxBitmapNameBytes)
    return bad_bitmap(index, "name_size", raw.name_bytes);
  const uint64_t table_bytes = uint64_t{raw.table_entries} * 8;
  if (table_bytes == 0 || table_bytes > kMaxBitmapTableBytes)
    return bad_bitmap(index, "bitmap_table_size", raw.table_entries);
  if (raw.table_offset == 0 || geometry.offset_in_cluster(raw.table_offset) != 0 ||
      !range_fits<uint64_t>(raw.table_offset, table_bytes, kMaxHostBytes))
    return bad_bitmap(index, "bitmap_table_offset", raw.table_offset);
  if (raw.extra_bytes != 0 && (raw.flags & kExtraCompatible) == 0)
    return fail(ErrorKind::kInvalidFormat,
                "bitmap directory: entry {} needs something that hull does not know", index);
  return {};
}

Result<Bitmap> decode_entry(std::span<const std::byte> directory, uint64_t& at, size_t index,
                            const Geometry& geometry) {
  BitmapLayout raw;
  if (!range_fits<uint64_t>(at, sizeof raw, directory.size()))
    return fail(ErrorKind::kInvalidFormat, "the bitmap directory ends inside entry {}", index);
  std::memcpy(&raw, directory.data() + at, sizeof raw);
  TRY(check_entry(raw, index, geometry));
  const uint64_t rest = uint64_t{raw.extra_bytes} + raw.name_bytes;
  if (!range_fits<uint64_t>(at + sizeof raw, rest, directory.size()))
    return fail(ErrorKind::kInvalidFormat, "the bitmap directory ends inside entry {}", index);
  const auto extra = directory.subspan(at + sizeof raw, raw.extra_bytes);
  const auto name = directory.subspan(at + sizeof raw + raw.extra_bytes, raw.name_bytes);
  at += align_up<uint64_t>(sizeof raw + rest, 8);
  Bitmap bitmap;
  bitmap.name.assign(reinterpret_cast<const char*>(name.data()), name.size());
  bitmap.table_offset = raw.table_offset;
  bitmap.table_entries = raw.table_entries;
  bitmap.in_use = (raw.flags & kInUse) != 0;
  bitmap.enabled = (raw.flags & kAuto) != 0;
  bitmap.extra_is_compatible = (raw.flags & kExtraCompatible) != 0;
  bitmap.granularity_bits = raw.granularity_bits;
  bitmap.extra.assign(extra.begin(), extra.end());
  return bitmap;
}

Result<BitmapsLayout> decode_extension(const HeaderExtension& extension, const Geometry& geometry) {
  BitmapsLayout raw;
  if (extension.data.size() != sizeof raw)
    return fail(ErrorKind::kInvalidFormat, "qcow2 header: the bitmaps extension has {} bytes",
                extension.data.size());
  std::memcpy(&raw, extension.data.data(), sizeof raw);
  if (raw.count == 0 || raw.count > kMaxBitmaps || raw.reserved != 0 ||
      raw.directory_bytes > kMaxBitmapDirectoryBytes ||
      geometry.offset_in_cluster(raw.directory_offset) != 0 ||
      raw.directory_offset >= kMaxHostBytes)
    return fail(ErrorKind::kInvalidFormat,
                "qcow2 header: the bitmaps extension has {} bitmaps in {:#x} bytes at {:#x}",
                raw.count.get(), raw.directory_bytes.get(), raw.directory_offset.get());
  return raw;
}

}  // namespace

uint64_t bitmap_bytes(uint64_t disk_bytes, uint32_t granularity_bits) {
  const uint64_t bits =
      (disk_bytes >> granularity_bits) + ((disk_bytes & ((1ULL << granularity_bits) - 1)) != 0);
  return divide_up<uint64_t>(bits, 8);
}

uint32_t bitmap_table_entries(const Header& header, const Bitmap& bitmap) {
  const uint64_t clusters =
      header.geometry.clusters_for(bitmap_bytes(header.size_bytes, bitmap.granularity_bits));
  return static_cast<uint32_t>(std::min<uint64_t>(clusters, ~uint32_t{0}));
}

Task<Result<BitmapDirectory>> read_bitmap_directory(File& file, const Header& header) {
  BitmapDirectory result;
  const HeaderExtension* const extension = header.find_extension(kExtensionBitmaps);
  if (extension == nullptr || (header.autoclear & kAutoclearBitmaps) == 0) co_return result;
  CO_TRY(const BitmapsLayout raw, decode_extension(*extension, header.geometry));
  std::vector<std::byte> directory(raw.directory_bytes);
  CO_TRY_VOID(co_await read_exactly(file, raw.directory_offset, directory));
  uint64_t at = 0;
  for (uint32_t i = 0; i < raw.count; ++i) {
    CO_TRY(Bitmap bitmap, decode_entry(directory, at, i, header.geometry));
    result.bitmaps.push_back(std::move(bitmap));
  }
  result.offset = raw.directory_offset;
  result.bytes = raw.directory_bytes;
  co_return result;
}

Result<std::vector<std::byte>> encode_bitmap_directory(const std::vector<Bitmap>& bitmaps) {
  if (bitmaps.size() > kMaxBitmaps)
    return fail(ErrorKind::kOutOfRange, "an image can have {} bitmaps and no more", kMaxBitmaps);
  std::vector<std::byte> bytes;
  const auto append = [&bytes](const void* data, size_t size) {
    const auto* const begin = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), begin, begin + size);
  };
  for (const Bitmap& bitmap : bitmaps) {
    BitmapLayout raw{};
    raw.table_offset = bitmap.table_offset;
    raw.table_entries = bitmap.table_entries;
    raw.flags = (bitmap.in_use ? kInUse : 0) | (bitmap.enabled ? kAuto : 0) |
                (bitmap.extra_is_compatible ? kExtraCompatible : 0);
    raw.type = kDirtyTracking;
    raw.granularity_bits = static_cast<unsigned char>(bitmap.granularity_bits);
    raw.name_bytes = static_cast<uint16_t>(bitmap.name.size());
    raw.extra_bytes = static_cast<uint32_t>(bitmap.extra.size());
    append(&raw, sizeof raw);
    append(bitmap.extra.data(), bitmap.extra.size());
    append(bitmap.name.data(), bitmap.name.size());
    bytes.resize(align_up<size_t>(bytes.size(), 8));
    if (bytes.size() > kMaxBitmapDirectoryBytes)
      return fail(ErrorKind::kOutOfRange, "the bitmap directory would exceed 64 MiB");
  }
  return bytes;
}

void set_bitmaps(Header& header, uint64_t directory_offset, uint64_t directory_bytes,
                 size_t count) {
  if (count == 0) {
    set_extension(header, kExtensionBitmaps, {});
    header.autoclear &= ~kAutoclearBitmaps;
    return;
  }
  const BitmapsLayout raw{static_cast<uint32_t>(count), 0, directory_bytes, directory_offset};
  const auto* const bytes = reinterpret_cast<const std::byte*>(&raw);
  set_extension(header, kExtensionBitmaps, {bytes, bytes + sizeof raw});
  header.autoclear |= kAutoclearBitmaps;
}

}  // namespace hull::blockcore::qcow2
