// Persistent dirty bitmaps with their bits: reading them, and replacing what an image has.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "blockcore/qcow2/format/bitmap_directory.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore::qcow2 {

// As in the file: the first bit is the lowest of the first byte.
using BitmapBits = std::vector<std::byte>;

// The bits for [offset, offset + length) of the disk; both inside the disk.
void set_bits(BitmapBits& bits, uint32_t granularity_bits, uint64_t offset, uint64_t length);
// Also those of `from`, whose granularity may be another; the disks have `disk_bytes`.
void merge_bits(BitmapBits& bits, uint32_t granularity_bits, const BitmapBits& from,
                uint32_t from_granularity_bits, uint64_t disk_bytes);

// kCorrupt if the bitmap is in use or does not fit the disk, kOutOfRange above 512 MiB.
Task<Result<BitmapBits>> load_bits(File& file, const Header& header, const Bitmap& bitmap);

struct StoredBitmap {
  Bitmap bitmap = {};
  std::optional<BitmapBits> bits = std::nullopt;  // absent: what the table has already
};

// Makes these the bitmaps of the image; the clusters of others are released (those of bitmaps that
// were not valid any more are leaked). Until the header is written, with one write, the old ones
// are valid; that write also gives the disk its new size, if it is to have one. Other operations
// may be reading, none writing.
Task<Result<void>> save_bitmaps(Parts& parts, std::vector<StoredBitmap> bitmaps,
                                std::optional<uint64_t> disk_bytes = std::nullopt);
// All that the image has, as they will be when the disk has another size: bits for what is new are
// clear. kCorrupt if one is in use, kOutOfRange if together they have more than 512 MiB.
Task<Result<std::vector<StoredBitmap>>> load_resized(const Image& image, uint64_t disk_bytes);

}  // namespace hull::blockcore::qcow2
