#include "blockcore/qcow2/alloc/refcounts.h"

#include <algorithm>

#include "blockcore/qcow2/alloc/overlap.h"
#include "blockcore/qcow2/alloc/write_back.h"
#include "blockcore/qcow2/format/image_header.h"
#include "blockcore/qcow2/format/refcount_block.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr uint64_t kMaxReserveClusters = 64;
constexpr uint64_t kMaxReserveBytes = 4 << 20;

}  // namespace

Refcounts::Refcounts(File& file, ImageHeader& header, OverlapGuard& guard, InUse& in_use,
                     AsyncMutex& commit_lock, uint64_t cache_bytes)
    : file_(file),
      header_(header),
      guard_(guard),
      commit_lock_(commit_lock),
      cache_(file, in_use, header->geometry.slice_bytes(), cache_bytes),
      // What a block device holds past the image's end is unknown.
      fresh_from_(file.unwritten_reads_as_zeros() ? header->geometry.clusters_for(file.size_bytes())
                                                  : ~uint64_t{0}) {}

const Geometry& Refcounts::geometry() const { return header_->geometry; }

// No cluster from there on can be had.
uint64_t Refcounts::cluster_limit() const {
  return geometry().cluster_of(std::min(kMaxHostBytes, file_.max_size_bytes()));
}

std::unexpected<Error> Refcounts::no_cluster_left() const {
  if (file_.max_size_bytes() >= kMaxHostBytes)
    return fail(ErrorKind::kNoSpace, "{}: qcow2 can address no more clusters", file_.path());
  return std::unexpected(
      Error(ErrorKind::kNoSpace,
            fmt::format("{}: the image has filled the {} bytes that it lies on; enlarge the device",
                        file_.path(), file_.max_size_bytes()),
            ENOSPC));
}

Task<Result<void>> Refcounts::read_table() {
  co_return co_await table_.read(
      file_, header_->refcount_table_offset,
      geometry().offset_of(header_->refcount_table_clusters) / sizeof(uint64_t));
}

Task<Result<Refcounts::Allocation>> Refcounts::allocate(uint64_t wanted) {
  const AsyncMutex::Guard guard = co_await allocating_.lock();
  co_return co_await take_clusters(wanted);
}

// The caller holds allocating_.
Task<Result<Refcounts::Allocation>> Refcounts::take_clusters(uint64_t wanted) {
  for (;;) {
    if (const std::optional<Allocation> reserved = take_reserved(wanted)) co_return *reserved;
    if (hint_ >= cluster_limit()) {
      if (reserve_.count == 0 || hint_ < reserve_.first) co_return no_cluster_left();
      wanted = std::min(wanted, reserve_.count);
      continue;
    }
    const uint64_t block = hint_ >> geometry().refcounts_per_block_bits();
    if (block >= table_.size()) {
      CO_TRY_VOID(co_await grow_table());
    } else if (table_[block] == 0) {
      CO_TRY_VOID(co_await add_block(block));
    } else if (Slice* slice = cache_.find(hint_ >> geometry().refcounts_per_slice_bits())) {
      const uint64_t reserved = hint_ >= reserve_.first ? reserve_.count : 0;
      const HostRun run = take_free(*slice, wanted - reserved);
      if (run.count == 0) continue;
      const uint64_t offset = geometry().offset_of(run.first);
      const uint64_t bytes = geometry().offset_of(run.count);
      if (guard_.find(offset, bytes, Structure::kGuestData))
        CO_TRY_VOID(co_await guard_.check(offset, bytes, Structure::kGuestData));
      const Allocation allocation = with_reserve(run, reserved);
      if (auto reached = reach_over(allocation, *slice); !reached) {
        std::vector<HostRun> unused{allocation.run};
        (void)co_await release(std::move(unused), false);
        co_return std::unexpected(std::move(reached).error());
      }
      co_return allocation;
    } else {
      CO_TRY_VOID(co_await load_slice(hint_));
    }
  }
}

// Free clusters that lie before the reserve come first.
std::optional<Refcounts::Allocation> Refcounts::take_reserved(uint64_t wanted) {
  if (reserve_.count < wanted || hint_ < reserve_.first) return std::nullopt;
  const HostRun run{reserve_.first, wanted};
  reserve_.first += wanted;
  reserve_.count -= wanted;
  const bool fresh = run.first >= fresh_from_;
  fresh_from_ = std::max(fresh_from_, run.first + run.count);
  return Allocation{run, fresh};
}

// `run` is what `reserved` clusters of the reserve were too few for; if they lie right before it,
// both go together.
Refcounts::Allocation Refcounts::with_reserve(HostRun run, uint64_t reserved) {
  if (reserved != 0 && reserve_.first + reserve_.count == run.first) {
    run = {reserve_.first, reserve_.count + run.count};
    reserve_ = {};
  }
  const bool fresh = run.first >= fresh_from_;
  fresh_from_ = std::max(fresh_from_, run.first + run.count);
  return {run, fresh};
}

// What is given out lies inside the file: a mapping that reaches the disk before the data, or a
// table of which only a part is ever written, may then point at zeros, never past the end.
Result<void> Refcounts::reach_over(const Allocation& allocation, Slice& slice) {
  if (!allocation.fresh) return {};
  reserve_behind(slice);
  return extend_to(allocation.run.first + allocation.run.count);
}

Result<void> Refcounts::extend_to(uint64_t end_cluster) {
  const uint64_t bytes = geometry().offset_of(end_cluster);
  if (bytes > file_.size_bytes()) grown_ = true;
  return file_.extend_to(bytes);
}

// The file grows with it, once for all of it.
void Refcounts::reserve_behind(Slice& slice) {
  if (reserve_.count != 0 || (hint_ & (geometry().refcounts_per_slice() - 1)) == 0) return;
  const uint64_t wanted =
      std::clamp<uint64_t>(kMaxReserveBytes >> geometry().cluster_bits, 1, kMaxReserveClusters);
  const uint64_t end = std::min(hint_ + wanted, cluster_limit());
  if (end <= hint_) return;
  if (!extend_to(end)) return;
  reserve_ = take_free(slice, end - hint_);
}

Task<Result<uint64_t>> Refcounts::allocate_bytes(uint64_t bytes) {
  CHECK(bytes != 0 && bytes <= geometry().cluster_bytes());
  const AsyncMutex::Guard guard = co_await allocating_.lock();
  const uint64_t start = packed_end_;
  const uint64_t cluster = geometry().cluster_of(start);
  const bool fits =
      start != 0 && geometry().offset_in_cluster(start) + bytes <= geometry().cluster_bytes();
  std::optional<uint64_t> next;  // first byte of a new cluster
  if (!fits) {
    CO_TRY(const Allocation taken, co_await take_clusters(1));
    next = geometry().offset_of(taken.run.first);
  }
  bool shares = start != 0 && (fits || *next == geometry().offset_of(cluster + 1));
  if (shares) {
    // A count that cannot be read is none that could be raised.
    const Result<bool> shared = co_await share_packed();
    shares = shared.value_or(false);
  }
  if (!shares && !next) {
    CO_TRY(const Allocation taken, co_await take_clusters(1));
    next = geometry().offset_of(taken.run.first);
  }
  const uint64_t place = shares ? start : *next;
  packed_end_ = geometry().offset_in_cluster(place + bytes) == 0 ? 0 : place + bytes;
  co_return place;
}

// Counts one more reference to the cluster in which packed_end_ lies; false if the count is full,
// or if the cluster was freed meanwhile.
Task<Result<bool>> Refcounts::share_packed() {
  const uint64_t start = packed_end_;
  const uint64_t cluster = geometry().cluster_of(start);
  Slice* slice = nullptr;
  while ((slice = cache_.find(cluster >> geometry().refcounts_per_slice_bits())) == nullptr)
    CO_TRY_VOID(co_await load_slice(cluster));
  const uint64_t index = cluster & (geometry().refcounts_per_slice() - 1);
  const uint64_t references = get_refcount(slice->bytes(), geometry().refcount_order, index);
  if (start == 0 || packed_end_ != start || references == 0 ||
      references >= geometry().max_refcount())
    co_return false;
  set_refcount(slice->bytes(), geometry().refcount_order, index, references + 1);
  cache_.mark_dirty(*slice);
  co_return true;
}

// Moves hint_ past what it takes, or past the slice if nothing is free there.
HostRun Refcounts::take_free(Slice& slice, uint64_t wanted) {
  const uint32_t order = geometry().refcount_order;
  const uint64_t mask = geometry().refcounts_per_slice() - 1;
  const uint64_t end = std::min((hint_ | mask) + 1, cluster_limit());
  uint64_t first = hint_;
  while (first < end &&
         (get_refcount(slice.bytes(), order, first & mask) != 0 || held_.contains(first)))
    ++first;
  uint64_t last = first;
  while (last < end && last - first < wanted &&
         get_refcount(slice.bytes(), order, last & mask) == 0 && !held_.contains(last)) {
    set_refcount(slice.bytes(), order, last & mask, 1);
    ++last;
  }
  hint_ = last;
  if (last != first) cache_.mark_dirty(slice);
  return {first, last - first};
}

Task<Result<void>> Refcounts::load_slice(uint64_t cluster) {
  const uint64_t block = cluster >> geometry().refcounts_per_block_bits();
  const uint64_t block_offset = block < table_.size() ? table_[block] & kRefcountOffsetMask : 0;
  if (block_offset == 0 || geometry().offset_in_cluster(block_offset) != 0 ||
      block_offset >= kMaxHostBytes)
    co_return std::unexpected(co_await guard_.mark_corrupt(
        Error(ErrorKind::kCorrupt, fmt::format("{}: refcount table entry {} points at {:#x}",
                                               file_.path(), block, block_offset))));
  const uint64_t key = cluster >> geometry().refcounts_per_slice_bits();
  const uint64_t slice_in_block = key & (geometry().slices_per_cluster() - 1);
  co_return co_await cache_.load(key, block_offset + slice_in_block * geometry().slice_bytes());
}

// A block describes a range in which nothing is allocated yet; it takes the first cluster of it.
Task<Result<void>> Refcounts::add_block(uint64_t block) {
  const uint64_t cluster = block << geometry().refcounts_per_block_bits();
  if (cluster == 0)
    co_return std::unexpected(co_await guard_.mark_corrupt(Error(
        ErrorKind::kCorrupt, fmt::format("{}: refcount table entry 0 is empty", file_.path()))));
  CO_TRY_VOID(co_await guard_.check(geometry().offset_of(cluster), geometry().cluster_bytes(),
                                    Structure::kGuestData));
  if (cluster < fresh_from_)
    CO_TRY_VOID(co_await file_.write_zeroes(geometry().offset_of(cluster),
                                            geometry().cluster_bytes(), false));
  CO_TRY_VOID(extend_to(cluster + 1));
  Slice& slice = cache_.insert_zeros(cluster >> geometry().refcounts_per_slice_bits());
  set_refcount(slice.bytes(), geometry().refcount_order, 0, 1);
  cache_.mark_dirty(slice);
  table_.set(block, geometry().offset_of(cluster));
  fresh_from_ = std::max(fresh_from_, cluster + 1);
  co_return {};
}

Task<Result<uint64_t>> Refcounts::count(uint64_t cluster) {
  const uint64_t key = cluster >> geometry().refcounts_per_slice_bits();
  const uint64_t block = cluster >> geometry().refcounts_per_block_bits();
  if (block >= table_.size() || table_[block] == 0) co_return 0;
  for (;;) {
    if (const Slice* slice = cache_.find(key))
      co_return get_refcount(slice->bytes(), geometry().refcount_order,
                             cluster & (geometry().refcounts_per_slice() - 1));
    CO_TRY_VOID(co_await load_slice(cluster));
  }
}

Task<Result<uint64_t>> Refcounts::count_used() {
  const uint64_t per_block = geometry().refcounts_per_block();
  const uint64_t file_end = geometry().clusters_for(file_.size_bytes());
  uint64_t used = 0;
  for (uint64_t block = 0; block < table_.size(); ++block) {
    const uint64_t end = table_[block] == 0 ? 0 : std::min(file_end, (block + 1) * per_block);
    for (uint64_t cluster = block * per_block; cluster < end; ++cluster) {
      CO_TRY(const uint64_t references, co_await count(cluster));
      if (references != 0) ++used;
    }
  }
  co_return used;
}

Task<Result<void>> Refcounts::write_blocks() {
  SliceCache::Copies copies = cache_.copy_dirty();
  for (SliceCache::Copy& copy : copies.slices) {
    const uint64_t per_block = geometry().slices_per_cluster();
    copy.host_offset = (table_[copy.key / per_block] & kRefcountOffsetMask) +
                       copy.key % per_block * geometry().slice_bytes();
  }
  Result<void> result;
  for (const SliceCache::Copy& copy : copies.slices)
    if (result && guard_.find(copy.host_offset, cache_.slice_bytes(), Structure::kRefcountBlock))
      result =
          co_await guard_.check(copy.host_offset, cache_.slice_bytes(), Structure::kRefcountBlock);
  if (result) result = co_await write_slices(file_, copies, cache_.slice_bytes());
  cache_.finish_writing(copies, !result);
  co_return std::move(result);
}

}  // namespace hull::blockcore::qcow2
