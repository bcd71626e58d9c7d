#include "blockcore/nbd/bitmap_context.h"

#include <algorithm>

#include "base/check.h"
#include "blockcore/nbd/meta_contexts.h"

namespace hull::blockcore::nbd {

namespace {

// Of one request: a server may describe less than it was asked for.
constexpr uint64_t kMaxBitsLookedAt = uint64_t{1} << 22;

class BitmapContext final : public MetaContext {
 public:
  explicit BitmapContext(DirtyBitmap bitmap)
      : name_(std::string(kBitmapContextPrefix) + bitmap.name), bitmap_(std::move(bitmap)) {}

  std::string_view name() const override { return name_; }

  Task<Result<std::vector<ExtentDescriptor>>> extents(uint64_t offset, uint32_t length,
                                                      size_t most) override {
    std::vector<ExtentDescriptor> extents;
    const uint64_t end = offset + length;
    uint64_t bit = offset >> bitmap_.granularity_bits;
    const uint64_t last_bit = bit + kMaxBitsLookedAt;
    for (uint64_t at = offset; at < end && bit < last_bit;) {
      const bool dirty = is_dirty(bit);
      if (extents.size() == most && (extents.back().flags != 0U) != dirty) break;
      bit = end_of_run(bit, std::min(last_bit, ((end - 1) >> bitmap_.granularity_bits) + 1));
      const uint64_t run_end = std::min(end, bit << bitmap_.granularity_bits);
      add_extent(extents, static_cast<uint32_t>(run_end - at), dirty ? kStateDirty : 0);
      at = run_end;
    }
    co_return extents;
  }

 private:
  bool is_dirty(uint64_t bit) const {
    CHECK(bit / 8 < bitmap_.bits.size());
    return (bitmap_.bits[bit / 8] >> (bit % 8) & std::byte{1}) != std::byte{0};
  }
  // The first bit from `bit` on that is not as it is, at most `limit`.
  uint64_t end_of_run(uint64_t bit, uint64_t limit) const {
    const bool dirty = is_dirty(bit);
    const std::byte alike = dirty ? std::byte{0xff} : std::byte{0};
    while (bit < limit && is_dirty(bit) == dirty)
      bit += bit % 8 == 0 && bitmap_.bits[bit / 8] == alike ? 8 : 1;
    return std::min(bit, limit);
  }

  const std::string name_;
  const DirtyBitmap bitmap_;
};

}  // namespace

std::unique_ptr<MetaContext> make_bitmap_context(DirtyBitmap bitmap) {
  return std::make_unique<BitmapContext>(std::move(bitmap));
}

}  // namespace hull::blockcore::nbd
