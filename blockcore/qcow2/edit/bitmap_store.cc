#include "blockcore/qcow2/edit/bitmap_store.h"

#include <algorithm>

#include "base/checked.h"
#include "blockcore/qcow2/check/references.h"
#include "blockcore/qcow2/edit/metadata_edit.h"

namespace hull::blockcore::qcow2 {
namespace {

// What other programs read: QEMU has no bitmap that is larger.
constexpr uint64_t kMaxBitsBytes = 512 << 20;
// Bitmap table entries: without an offset, whether the cluster is all ones; bits 9-55: offset.
constexpr uint64_t kAllOnes = 1;
constexpr uint64_t kReservedBits = 0xff000000000001fe;

bool is_all(std::span<const std::byte> bytes, std::byte value) {
  return std::ranges::all_of(bytes, [value](std::byte one) { return one == value; });
}

void set_bit_range(BitmapBits& bits, uint64_t first, uint64_t last) {
  for (; first <= last && first % 8 != 0; ++first) bits[first / 8] |= std::byte{1} << (first % 8);
  for (; first + 8 <= last + 1; first += 8) bits[first / 8] = std::byte{0xff};
  for (; first <= last; ++first) bits[first / 8] |= std::byte{1} << (first % 8);
}

// Data clusters and table, durable, not yet referred to.
Task<Result<void>> write_bits(MetadataEdit& edit, const Header& header, StoredBitmap& stored) {
  const uint64_t cluster = header.geometry.cluster_bytes();
  BitmapBits& bits = *stored.bits;
  bits.resize(align_up<uint64_t>(bits.size(), cluster));
  std::vector<std::byte> data;
  std::vector<uint64_t> table(bits.size() / cluster);
  std::vector<size_t> with_data;  // indices into the table
  for (size_t i = 0; i < table.size(); ++i) {
    const auto one = std::span(bits).subspan(i * cluster, cluster);
    if (is_all(one, std::byte{0})) continue;
    if (is_all(one, std::byte{0xff})) {
      table[i] = kAllOnes;
      continue;
    }
    with_data.push_back(i);
    data.insert(data.end(), one.begin(), one.end());
  }
  CO_TRY(uint64_t offset, co_await edit.add_table(std::move(data)));
  for (const size_t i : with_data) table[i] = std::exchange(offset, offset + cluster);
  stored.bitmap.table_entries = static_cast<uint32_t>(table.size());
  CO_TRY(stored.bitmap.table_offset, co_await edit.add_table(encode_table(table)));
  co_return {};
}

Task<Result<void>> collect_clusters(File& file, const Header& header, const Bitmap& bitmap,
                                    std::vector<HostRun>& runs) {
  CO_TRY(const std::vector<uint64_t> table,
         co_await read_table(file, bitmap.table_offset, bitmap.table_entries));
  for (const uint64_t entry : table)
    if ((entry & kOffsetMask) != 0)
      add_run(runs, {header.geometry.cluster_of(entry & kOffsetMask), 1});
  if (bitmap.table_entries != 0)
    add_run(runs, clusters_of_table(header.geometry, bitmap.table_offset,
                                    uint64_t{bitmap.table_entries} * 8));
  co_return {};
}

// What the image has now and will not have.
Task<Result<std::vector<HostRun>>> collect_unused(Parts& parts,
                                                  const std::vector<StoredBitmap>& kept) {
  File& file = *parts.image.file;
  const Header& header = *parts.image.header;
  std::vector<HostRun> runs;
  CO_TRY(const BitmapDirectory old, co_await read_bitmap_directory(file, header));
  for (const Bitmap& bitmap : old.bitmaps) {
    const bool stays = std::ranges::any_of(kept, [&bitmap](const StoredBitmap& one) {
      return !one.bits && one.bitmap.table_offset == bitmap.table_offset;
    });
    if (!stays) CO_TRY_VOID(co_await collect_clusters(file, header, bitmap, runs));
  }
  if (old.bytes != 0) add_run(runs, clusters_of_table(header.geometry, old.offset, old.bytes));
  co_return runs;
}

Task<Result<void>> save_now(Parts& parts, MetadataEdit& edit, std::vector<StoredBitmap>& bitmaps,
                            std::optional<uint64_t> disk_bytes) {
  CO_TRY_VOID(co_await edit.begin());
  Header changed = *parts.image.header;
  std::vector<Bitmap> entries;
  for (StoredBitmap& stored : bitmaps) {
    if (stored.bits) CO_TRY_VOID(co_await write_bits(edit, changed, stored));
    entries.push_back(stored.bitmap);
  }
  CO_TRY(std::vector<std::byte> directory, encode_bitmap_directory(entries));
  const uint64_t bytes = directory.size();
  CO_TRY(const uint64_t offset, co_await edit.add_table(std::move(directory)));
  // Growing the refcount table has changed the header meanwhile, maybe.
  changed = *parts.image.header;
  set_bitmaps(changed, offset, bytes, entries.size());
  changed.size_bytes = disk_bytes.value_or(changed.size_bytes);
  co_return co_await edit.publish(std::move(changed), false);
}

}  // namespace

void set_bits(BitmapBits& bits, uint32_t granularity_bits, uint64_t offset, uint64_t length) {
  if (length == 0) return;
  set_bit_range(bits, offset >> granularity_bits, (offset + length - 1) >> granularity_bits);
}

void merge_bits(BitmapBits& bits, uint32_t granularity_bits, const BitmapBits& from,
                uint32_t from_granularity_bits, uint64_t disk_bytes) {
  for (uint64_t byte = 0; byte < from.size(); ++byte) {
    if (from[byte] == std::byte{0}) continue;
    if (granularity_bits == from_granularity_bits) {
      bits[byte] |= from[byte];
      continue;
    }
    for (unsigned bit = 0; bit < 8; ++bit) {
      const uint64_t offset = (byte * 8 + bit) << from_granularity_bits;
      if ((from[byte] >> bit & std::byte{1}) == std::byte{0} || offset >= disk_bytes) continue;
      set_bits(bits, granularity_bits, offset,
               std::min(uint64_t{1} << from_granularity_bits, disk_bytes - offset));
    }
  }
}

Task<Result<BitmapBits>> load_bits(File& file, const Header& header, const Bitmap& bitmap) {
  const uint64_t bytes = bitmap_bytes(header.size_bytes, bitmap.granularity_bits);
  if (bitmap.in_use || bitmap.table_entries != bitmap_table_entries(header, bitmap))
    co_return fail(ErrorKind::kCorrupt, "bitmap '{}' is inconsistent and cannot be used",
                   bitmap.name);
  if (bytes > kMaxBitsBytes)
    co_return fail(ErrorKind::kOutOfRange, "bitmap '{}' has {} bytes, too many", bitmap.name,
                   bytes);
  CO_TRY(const std::vector<uint64_t> table,
         co_await read_table(file, bitmap.table_offset, bitmap.table_entries));
  BitmapBits bits(bytes);
  const uint64_t cluster = header.geometry.cluster_bytes();
  for (uint64_t at = 0; at < bytes; at += cluster) {
    const uint64_t entry = table[at / cluster];
    const uint64_t offset = entry & kOffsetMask;
    const auto part = std::span(bits).subspan(at, std::min(cluster, bytes - at));
    if (header.geometry.offset_in_cluster(offset) != 0 || (entry & kReservedBits) != 0 ||
        (offset != 0 && (entry & kAllOnes) != 0))
      co_return fail(ErrorKind::kCorrupt, "bitmap '{}': a table entry is {:#x}", bitmap.name,
                     entry);
    if (offset != 0) {
      CO_TRY_VOID(co_await read_exactly(file, offset, part));
    } else if ((entry & kAllOnes) != 0) {
      std::ranges::fill(part, std::byte{0xff});
    }
  }
  co_return bits;
}

Task<Result<std::vector<StoredBitmap>>> load_resized(const Image& image, uint64_t disk_bytes) {
  CO_TRY(BitmapDirectory directory, co_await read_bitmap_directory(*image.file, *image.header));
  std::vector<StoredBitmap> all;
  uint64_t total = 0;
  for (Bitmap& bitmap : directory.bitmaps) {
    const uint64_t bytes = bitmap_bytes(disk_bytes, bitmap.granularity_bits);
    total += std::max(bytes, bitmap_bytes(image.size_bytes(), bitmap.granularity_bits));
    if (bytes > kMaxBitsBytes || total > kMaxBitsBytes)
      co_return fail(ErrorKind::kOutOfRange, "the bitmaps have more than {} bytes, too many",
                     kMaxBitsBytes);
    CO_TRY(BitmapBits bits, co_await load_bits(*image.file, *image.header, bitmap));
    bits.resize(bytes);
    const uint64_t count = ((disk_bytes - 1) >> bitmap.granularity_bits) + 1;
    if (disk_bytes != 0 && count % 8 != 0) bits.back() &= std::byte{0xff} >> (8 - count % 8);
    all.push_back({std::move(bitmap), std::move(bits)});
  }
  co_return std::move(all);
}

Task<Result<void>> save_bitmaps(Parts& parts, std::vector<StoredBitmap> bitmaps,
                                std::optional<uint64_t> disk_bytes) {
  CO_TRY(std::vector<HostRun> unused, co_await collect_unused(parts, bitmaps));
  MetadataEdit edit(parts);
  auto saved = co_await save_now(parts, edit, bitmaps, disk_bytes);
  if (saved) saved = co_await parts.image.guard.read_places();
  if (!saved) unused = edit.take_added();
  (void)co_await parts.image.refcounts.release(std::move(unused), true);
  auto committed = co_await parts.committer.commit_all();
  co_return saved ? std::move(committed) : std::move(saved);
}

}  // namespace hull::blockcore::qcow2
