#include "blockcore/image/copy_bitmaps.h"

#include <algorithm>
#include <vector>

#include "blockcore/qcow2/edit/bitmap_store.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore {
namespace {

using qcow2::Bitmap;
using qcow2::BitmapDirectory;
using qcow2::StoredBitmap;

Task<Result<BitmapDirectory>> directory_of(Qcow2Disk& disk) {
  co_return co_await qcow2::read_bitmap_directory(*disk.parts().image.file, disk.header());
}

Task<Result<StoredBitmap>> load(Qcow2Disk& source, const Bitmap& bitmap, uint64_t target_bytes) {
  CO_TRY(qcow2::BitmapBits bits,
         co_await qcow2::load_bits(*source.parts().image.file, source.header(), bitmap));
  // The target may be longer.
  bits.resize(qcow2::bitmap_bytes(target_bytes, bitmap.granularity_bits));
  co_return StoredBitmap{.bitmap = {.name = bitmap.name,
                                    .enabled = bitmap.enabled,
                                    .granularity_bits = bitmap.granularity_bits},
                         .bits = std::move(bits)};
}

}  // namespace

Task<Result<void>> check_bitmaps(Qcow2Disk& source, const SkippedBitmap& skipped) {
  if (source.header().version < 3)
    co_return fail(ErrorKind::kUnsupported, "Source lacks bitmap support");
  CO_TRY(const BitmapDirectory directory, co_await directory_of(source));
  for (const Bitmap& bitmap : directory.bitmaps)
    if (bitmap.in_use && !skipped)
      co_return fail(ErrorKind::kCorrupt,
                     "Cannot copy inconsistent bitmap '{}'; try --skip-broken-bitmaps, or use "
                     "'hull img bitmap --remove' to delete it",
                     bitmap.name);
  co_return {};
}

Task<Result<void>> copy_bitmaps(Qcow2Disk& source, Qcow2Disk& target, SkippedBitmap skipped) {
  CO_TRY_VOID(co_await target.flush());
  CO_TRY(const BitmapDirectory from, co_await directory_of(source));
  CO_TRY(BitmapDirectory to, co_await directory_of(target));
  std::vector<StoredBitmap> bitmaps;
  bitmaps.reserve(to.bitmaps.size() + from.bitmaps.size());
  for (Bitmap& bitmap : to.bitmaps) bitmaps.push_back({.bitmap = std::move(bitmap)});
  for (const Bitmap& bitmap : from.bitmaps) {
    if (bitmap.in_use) {
      if (skipped) skipped(bitmap.name);
      continue;
    }
    if (std::ranges::any_of(
            bitmaps, [&bitmap](const StoredBitmap& one) { return one.bitmap.name == bitmap.name; }))
      co_return fail(ErrorKind::kInvalidConfig,
                     "Failed to create bitmap {0}: Bitmap already exists: {0}", bitmap.name);
    CO_TRY(StoredBitmap copy, co_await load(source, bitmap, target.size_bytes()));
    bitmaps.push_back(std::move(copy));
  }
  co_return co_await qcow2::save_bitmaps(target.parts(), std::move(bitmaps));
}

}  // namespace hull::blockcore
