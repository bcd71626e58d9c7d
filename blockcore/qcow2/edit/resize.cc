#include "blockcore/qcow2/edit/resize.h"

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "blockcore/qcow2/edit/bitmap_store.h"
#include "blockcore/qcow2/edit/trim.h"
#include "blockcore/zero_bytes.h"

namespace hull::blockcore::qcow2 {
namespace {

Result<void> check_resizable(const Header& header) {
  if (header.snapshot_count != 0 && header.version < 3)
    return fail(ErrorKind::kUnsupported, "Can't resize a v2 image which has snapshots");
  return {};
}

Task<Result<void>> write_zeros(Parts& parts, uint64_t offset, uint64_t end) {
  while (offset < end) {
    const iovec buffer{zero_bytes.data(), std::min<uint64_t>(end - offset, zero_bytes.size())};
    CO_TRY_VOID(co_await parts.writer.write(offset, {&buffer, 1}));
    offset += buffer.iov_len;
  }
  co_return {};
}

// Zeroes what is not zeros already in the rest of the cluster in which the disk ended.
Task<Result<void>> clear_rest(Parts& parts, uint64_t offset, uint64_t end, bool has_backing) {
  while (offset < end) {
    const std::optional<Extent> extent = parts.image.map.find(offset, end - offset);
    if (!extent) {
      CO_TRY_VOID(co_await parts.image.map.load(offset));
      continue;
    }
    const ClusterKind kind = extent->kind;
    if (kind != ClusterKind::kZero && (kind != ClusterKind::kUnallocated || has_backing))
      CO_TRY_VOID(co_await write_zeros(parts, offset, offset + extent->length));
    offset += extent->length;
  }
  co_return {};
}

// What a guest would see past the old end that is not zeros.
Task<Result<void>> hide_what_shows(Parts& parts, uint64_t old_size, uint64_t new_size) {
  Image& image = parts.image;
  const uint64_t backing_end =
      image.backing == nullptr ? 0 : std::min(image.backing->size_bytes(), new_size);
  const uint64_t whole = align_up(old_size, image.geometry.cluster_bytes());
  CO_TRY_VOID(
      co_await clear_rest(parts, old_size, std::min(whole, new_size), backing_end > old_size));
  if (backing_end <= whole) co_return {};
  if (image.header->has_zero_flag() || image.geometry.extended_l2) {
    for (uint64_t cluster = image.geometry.cluster_of(whole);
         cluster < image.geometry.clusters_for(backing_end);) {
      if (parts.committer.is_due()) CO_TRY_VOID(co_await parts.committer.commit());
      if (!image.map.is_ready(cluster)) {
        CO_TRY_VOID(co_await image.map.make_ready(cluster));
        continue;
      }
      const bool extended = image.geometry.extended_l2;
      image.map.set_entry(cluster++, {extended ? 0 : kZeroFlag,
                                      extended ? L2Entry::make_bitmap(0, kAllSubclusters) : 0});
    }
    co_return {};
  }
  co_return co_await write_zeros(parts, whole, backing_end);
}

// Gives `run` to the guest clusters from `cluster` on.
Task<Result<void>> map_run(Parts& parts, uint64_t cluster, HostRun run) {
  Image& image = parts.image;
  const bool extended = image.geometry.extended_l2;
  for (uint64_t i = 0; i < run.count;) {
    if (!image.map.is_ready(cluster + i)) {
      CO_TRY_VOID(co_await image.map.make_ready(cluster + i));
      continue;
    }
    const uint64_t host = image.geometry.offset_of(run.first + i);
    // Subclusters that read as zeros, in a cluster of their own.
    image.map.set_entry(
        cluster + i, {host | kCopiedFlag, extended ? L2Entry::make_bitmap(0, kAllSubclusters) : 0,
                      image.header->has_data_file()});
    ++i;
  }
  co_return {};
}

Task<Result<void>> fill_run(Parts& parts, const Refcounts::Allocation& allocation,
                            Preallocation preallocation) {
  File& file = *parts.image.file;
  const Geometry& geometry = parts.image.geometry;
  const uint64_t offset = geometry.offset_of(allocation.run.first);
  const uint64_t bytes = geometry.offset_of(allocation.run.count);
  // Past the end of the file zeros would take no space.
  if (!file.is_block_device() && file.size_bytes() < offset + bytes)
    CO_TRY_VOID(file.extend_to(offset + bytes));
  if (!allocation.fresh || preallocation == Preallocation::kFull)
    co_return co_await file.write_zeroes(offset, bytes, /*may_unmap=*/false);
  if (preallocation == Preallocation::kFalloc) co_return co_await file.allocate(offset, bytes);
  co_return {};
}

// What an external data file has between the two sizes becomes zeros: the mapping will name it.
// What it has behind them stays, it is not the disk's.
Task<Result<void>> extend_data_file(File& file, uint64_t old_size, uint64_t new_size,
                                    Preallocation preallocation) {
  const bool holds_something = file.size_bytes() > old_size;
  if (file.is_block_device()) {
    if (file.size_bytes() < new_size)
      co_return fail(ErrorKind::kOutOfRange, "{}: the device has only {} bytes", file.path(),
                     file.size_bytes());
  } else {
    CO_TRY_VOID(file.extend_to(new_size));
  }
  const uint64_t length = new_size - old_size;
  const bool full = preallocation == Preallocation::kFull;
  if (full || holds_something)
    CO_TRY_VOID(co_await file.write_zeroes(old_size, length, /*may_unmap=*/!full));
  if (preallocation == Preallocation::kFalloc)
    CO_TRY_VOID(co_await file.allocate(old_size, length));
  co_return co_await file.flush();
}

// As long as the disk: growth makes a file longer and never shorter, whatever else is in it.
Task<Result<void>> extend_data_file_to_disk(Image& image) {
  if (image.data_file == nullptr || image.data_file->is_block_device()) co_return {};
  CO_TRY_VOID(image.data_file->extend_to(image.size_bytes()));
  co_return co_await image.data_file->flush();
}

// As QEMU has it when the disk shrinks.
Task<Result<void>> cut_data_file_to_disk(Image& image) {
  if (image.data_file == nullptr || image.data_file->is_block_device()) co_return {};
  CO_TRY_VOID(image.data_file->cut_to(image.size_bytes()));
  co_return co_await image.data_file->flush();
}

Task<Result<void>> preallocate(Parts& parts, uint64_t old_size, uint64_t new_size,
                               Preallocation preallocation) {
  Image& image = parts.image;
  const uint64_t end = image.geometry.clusters_for(new_size);
  constexpr uint64_t kMostAtOnce = 4096;
  for (uint64_t cluster = image.geometry.clusters_for(old_size); cluster < end;) {
    if (parts.committer.is_due()) CO_TRY_VOID(co_await parts.committer.commit());
    if (image.data_file != nullptr) {
      const HostRun same{cluster, std::min(end - cluster, kMostAtOnce)};
      CO_TRY_VOID(co_await map_run(parts, cluster, same));
      cluster += same.count;
      continue;
    }
    CO_TRY(const Refcounts::Allocation allocation,
           co_await image.refcounts.allocate(std::min(end - cluster, kMostAtOnce)));
    auto done = co_await fill_run(parts, allocation, preallocation);
    if (done) done = co_await map_run(parts, cluster, allocation.run);
    if (!done) {
      // What was not mapped would leak; what was is the disk's.
      co_return std::move(done);
    }
    cluster += allocation.run.count;
  }
  co_return {};
}

// One write of the header, in which the bitmaps change with the disk that they describe.
Task<Result<void>> publish_size(Parts& parts, uint64_t size_bytes,
                                std::vector<StoredBitmap> bitmaps) {
  const Header& header = *parts.image.header;
  if (!bitmaps.empty()) co_return co_await save_bitmaps(parts, std::move(bitmaps), size_bytes);
  co_return co_await parts.image.header.set_mapping(*parts.image.file, size_bytes, header.l1_offset,
                                                    header.l1_entries);
}

Task<Result<void>> grow(Parts& parts, ResizeOptions options, std::vector<StoredBitmap> bitmaps) {
  Image& image = parts.image;
  const uint64_t old_size = image.size_bytes();
  const uint64_t entries = image.geometry.l1_entries_for(options.size_bytes);
  if (entries * 8 > kMaxL1Bytes)
    co_return fail(ErrorKind::kOutOfRange, "the L1 table would exceed 32 MiB: use larger clusters");
  CO_TRY_VOID(co_await parts.committer.commit_all());
  if (entries > image.header->l1_entries)
    CO_TRY_VOID(co_await move_l1(parts, static_cast<uint32_t>(entries)));
  CO_TRY_VOID(co_await image.map.reload(entries));
  // The saved state of a VM that was never cleared away.
  const uint64_t state = image.geometry.l1_entries_for(old_size)
                         << image.geometry.l2_entries_bits();
  CO_TRY_VOID(co_await forget_clusters(parts, state));
  // Every cluster of a raw data file is the guest's, whatever it holds.
  if (image.header->data_file_is_raw() && options.preallocation == Preallocation::kOff)
    options.preallocation = Preallocation::kMetadata;
  const bool preallocates = options.preallocation != Preallocation::kOff;
  if (image.data_file != nullptr && preallocates)
    CO_TRY_VOID(co_await extend_data_file(*image.data_file, old_size, options.size_bytes,
                                          options.preallocation));
  CO_TRY_VOID(co_await hide_what_shows(parts, old_size, options.size_bytes));
  if (preallocates)
    CO_TRY_VOID(co_await preallocate(parts, old_size, options.size_bytes, options.preallocation));
  CO_TRY_VOID(co_await parts.committer.commit_all());
  CO_TRY_VOID(co_await publish_size(parts, options.size_bytes, std::move(bitmaps)));
  co_return co_await extend_data_file_to_disk(image);
}

Task<Result<void>> shrink(Parts& parts, uint64_t size_bytes, std::vector<StoredBitmap> bitmaps) {
  Image& image = parts.image;
  CO_TRY_VOID(co_await forget_clusters(parts, image.geometry.clusters_for(size_bytes)));
  CO_TRY_VOID(co_await publish_size(parts, size_bytes, std::move(bitmaps)));
  CO_TRY_VOID(co_await image.map.reload(image.geometry.l1_entries_for(size_bytes)));
  CO_TRY_VOID(co_await cut_tail(parts));
  co_return co_await cut_data_file_to_disk(image);
}

}  // namespace

Task<Result<void>> move_l1(Parts& parts, uint32_t entries) {
  Image& image = parts.image;
  const Geometry& geometry = image.geometry;
  const HostRun old{geometry.cluster_of(image.header->l1_offset),
                    geometry.clusters_for(uint64_t{image.header->l1_entries} * 8)};
  std::vector<std::byte> table(uint64_t{image.header->l1_entries} * 8);
  if (!table.empty())
    CO_TRY_VOID(co_await read_exactly(*image.file, image.header->l1_offset, table));
  table.resize(align_up<uint64_t>(uint64_t{entries} * 8, geometry.cluster_bytes()));
  CO_TRY(const HostRun place,
         co_await image.refcounts.allocate_row(geometry.cluster_of(table.size())));
  const uint64_t offset = geometry.offset_of(place.first);
  auto moved = co_await write_exactly(*image.file, offset, table);
  // Counted before it is referred to.
  if (moved) moved = co_await parts.committer.commit_all();
  if (moved) moved = co_await image.file->flush();
  if (!moved) {
    std::vector<HostRun> unused{place};
    (void)co_await image.refcounts.release(std::move(unused), /*punch=*/true);
    co_return std::move(moved);
  }
  // If this fails, nobody knows which of the two tables the file's header names: both stay.
  CO_TRY_VOID(co_await image.header.set_mapping(*image.file, image.size_bytes(), offset, entries));
  std::vector<HostRun> unused{old};
  if (old.count != 0) (void)co_await image.refcounts.release(std::move(unused), /*punch=*/true);
  co_return {};
}

Task<Result<void>> resize(Parts& parts, ResizeOptions options) {
  CO_TRY_VOID(check_resizable(*parts.image.header));
  if (parts.image.encrypted != nullptr && options.preallocation != Preallocation::kOff)
    co_return fail(ErrorKind::kUnsupported,
                   "space in an encrypted image cannot be preallocated: what is not written would "
                   "read as noise");
  if (options.size_bytes > kMaxGuestBytes)
    co_return fail(ErrorKind::kOutOfRange, "the new size is more than qcow2 can map");
  const uint64_t now = parts.image.size_bytes();
  if (options.size_bytes == now) co_return {};
  auto bitmaps = (co_await load_resized(parts.image, options.size_bytes))
                     .with_context("Can't resize an image with these persistent bitmaps");
  if (!bitmaps) co_return std::unexpected(std::move(bitmaps).error());
  if (options.size_bytes > now) co_return co_await grow(parts, options, *std::move(bitmaps));
  co_return co_await shrink(parts, options.size_bytes, *std::move(bitmaps));
}

}  // namespace hull::blockcore::qcow2
