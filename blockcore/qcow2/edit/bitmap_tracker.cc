#include "blockcore/qcow2/edit/bitmap_tracker.h"

#include "base/log.h"

namespace hull::blockcore::qcow2 {

// Returns whether the image has bitmaps that are valid.
Task<Result<bool>> BitmapTracker::begin_tracking() {
  File& file = *parts_.image.file;
  const Header header = *parts_.image.header;
  CO_TRY(BitmapDirectory directory, co_await read_bitmap_directory(file, header));
  std::vector<Tracked> tracked;
  std::vector<StoredBitmap> stored;
  bool changes = false;
  for (Bitmap& bitmap : directory.bitmaps) {
    if (bitmap.enabled && !bitmap.in_use) {
      auto bits = co_await load_bits(file, header, bitmap);
      if (bits)
        tracked.push_back({bitmap.name, bitmap.granularity_bits, *std::move(bits)});
      else
        LOG_WARN("{}: {}", file.path(), bits.error().message());
      // Also one that is given up: the file must say so.
      bitmap.in_use = true;
      changes = true;
    }
    stored.push_back({std::move(bitmap)});
  }
  if (changes) CO_TRY_VOID(co_await save_bitmaps(parts_, std::move(stored)));
  tracked_ = std::move(tracked);
  co_return !directory.bitmaps.empty();
}

Task<Result<void>> BitmapTracker::start(uint64_t kept_autoclear) {
  File& file = *parts_.image.file;
  ImageHeader& header = parts_.image.header;
  bool valid = false;
  if ((header->autoclear & kAutoclearBitmaps) != 0) {
    auto begun = co_await begin_tracking();
    if (!begun && begun.error().is_of_host()) co_return std::unexpected(std::move(begun).error());
    if (!begun) LOG_WARN("{}: its bitmaps are given up: {}", file.path(), begun.error().message());
    valid = begun && *begun;
  }
  if (valid) kept_autoclear |= kAutoclearBitmaps;
  const uint64_t autoclear = header->autoclear & kept_autoclear;
  if (autoclear == header->autoclear) co_return {};
  co_return co_await header.set_features(file, header->incompatible, autoclear);
}

Task<Result<void>> BitmapTracker::stop() {
  if (tracked_.empty()) co_return {};
  CO_TRY(BitmapDirectory directory,
         co_await read_bitmap_directory(*parts_.image.file, *parts_.image.header));
  std::vector<StoredBitmap> stored;
  for (Bitmap& bitmap : directory.bitmaps) {
    StoredBitmap& one = stored.emplace_back(StoredBitmap{std::move(bitmap)});
    for (Tracked& tracked : tracked_) {
      if (tracked.name != one.bitmap.name) continue;
      one.bitmap.in_use = false;
      one.bits = std::move(tracked.bits);
    }
  }
  tracked_.clear();
  co_return co_await save_bitmaps(parts_, std::move(stored));
}

}  // namespace hull::blockcore::qcow2
