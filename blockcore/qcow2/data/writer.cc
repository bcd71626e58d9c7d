#include "blockcore/qcow2/data/writer.h"

#include <algorithm>
#include <bit>

#include "base/checked.h"
#include "blockcore/async/run_all.h"
#include "blockcore/engine/iovecs.h"

namespace hull::blockcore::qcow2 {
namespace {

// The guest clusters have host clusters of their own, which hold no data for the extent.
bool keeps_host(const Extent& extent) {
  return extent.writable && extent.kind != ClusterKind::kNormal &&
         extent.kind != ClusterKind::kCompressed;
}

// What one read spares is worth more than reading this many bytes that will be overwritten.
constexpr uint64_t kMaxMiddleBytes = 16 << 10;

}  // namespace

Task<Result<void>> Writer::write(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  for (uint64_t done = 0; done < total;) {
    const std::optional<Extent> extent = image_.map.find(offset + done, total - done);
    if (!extent) {
      CO_TRY_VOID(co_await load_for_change(image_, offset + done));
    } else if (extent->length == total) {
      if (extent->kind == ClusterKind::kNormal && extent->writable)
        co_return co_await write_in_place(*extent, buffers);
      co_return co_await write_range(offset, buffers, 0, total);
    } else {
      std::vector<Task<Result<void>>> pieces;
      done += start_pieces(offset, buffers, done, pieces);
      CO_TRY_VOID(co_await run_all(std::move(pieces)));
    }
  }
  co_return {};
}

// A write of each extent in turn while the mapping is known; returns how many bytes they cover.
uint64_t Writer::start_pieces(uint64_t offset, std::span<const iovec> buffers, uint64_t done,
                              std::vector<Task<Result<void>>>& pieces) {
  const uint64_t total = total_bytes(buffers);
  uint64_t covered = 0;
  while (done + covered < total && pieces.size() < Reader::kMaxPieces) {
    const uint64_t begin = done + covered;
    const std::optional<Extent> extent = image_.map.find(offset + begin, total - begin);
    if (!extent) break;
    pieces.push_back(write_range(offset + begin, buffers, begin, extent->length));
    covered += extent->length;
  }
  return covered;
}

// `length` bytes of the list, from `done` on. The mapping may change while it is at work.
Task<Result<void>> Writer::write_range(uint64_t offset, std::span<const iovec> list, uint64_t done,
                                       uint64_t length) {
  for (uint64_t at = 0; at < length;) {
    const std::optional<Extent> extent = image_.map.find(offset + at, length - at);
    if (!extent) {
      CO_TRY_VOID(co_await load_for_change(image_, offset + at));
    } else if (extent->kind == ClusterKind::kInvalid) {
      co_return std::unexpected(
          co_await image_.guard.mark_corrupt(image_.map.invalid_entry(offset + at, *extent)));
    } else if (extent->kind == ClusterKind::kNormal && extent->writable) {
      const IovecPart part(list, done + at, extent->length);
      CO_TRY_VOID(co_await write_in_place(*extent, part.buffers()));
      at += extent->length;
    } else {
      CO_TRY(const uint64_t written, co_await write_new(offset + at, *extent, list, done + at));
      at += written;
    }
  }
  co_return {};
}

Task<Result<void>> Writer::write_in_place(const Extent& extent, std::span<const iovec> buffers) {
  if (hits_metadata(extent, extent.length))
    co_return co_await image_.guard.check(extent.host_offset, extent.length, Structure::kGuestData);
  const InUse::Hold hold(image_.in_use);
  co_return co_await image_.data().write(extent.host_offset, buffers);
}

// Returns how much of the extent it wrote: 0 if it only waited and the mapping is to be looked at
// again.
Task<Result<uint64_t>> Writer::write_new(uint64_t offset, const Extent& extent,
                                         std::span<const iovec> buffers, uint64_t done) {
  const Geometry& geometry = image_.geometry;
  Placement placement;
  placement.offset = offset;
  placement.first_cluster = geometry.cluster_of(offset);
  // One slice of an L2 table at a time, so that all entries change together.
  const uint64_t slice_end =
      geometry.offset_of((placement.first_cluster | (geometry.l2_slice_entries() - 1)) + 1);
  placement.length = std::min(extent.length, slice_end - offset);
  const GranuleRange range = keeps_host(extent)
                                 ? granules_of(geometry, offset, placement.length)
                                 : granules_of_clusters(geometry, offset, placement.length);
  if (WaitList* busy = image_.claims.find(range)) {
    co_await busy->wait();
    co_return 0;
  }
  // From here on nobody else changes what these granules map to.
  const RangeLock::Hold claim(image_.claims, range);
  placement.old_zero = reads_as_zero(extent, offset);
  CO_TRY_VOID(co_await place(placement, extent));
  const IovecPart part(buffers, done, placement.length);
  auto result = co_await find_bounds(placement);
  if (result) result = co_await fill(placement, part.buffers());
  if (result) result = co_await publish(placement);
  if (!result) {
    std::vector<HostRun> unused{placement.host};
    if (!placement.kept) (void)co_await image_.refcounts.release(std::move(unused), true);
    co_return std::unexpected(std::move(result).error());
  }
  co_return placement.length;
}

// In place: what the entry calls guest data is something else as well.
bool Writer::hits_metadata(const Extent& extent, uint64_t length) const {
  return image_.data_file == nullptr &&
         image_.guard.find(extent.host_offset, length, Structure::kGuestData).has_value();
}

bool Writer::reads_as_zero(const Extent& extent, uint64_t offset) const {
  if (extent.kind == ClusterKind::kZero) return true;
  return extent.kind == ClusterKind::kUnallocated &&
         align_down(offset, image_.geometry.granule_bytes()) >= image_.backing_bytes();
}

// Host clusters for the beginning of the extent; shortens the placement to what they hold.
Task<Result<void>> Writer::place(Placement& placement, const Extent& extent) {
  const Geometry& geometry = image_.geometry;
  const uint64_t in_cluster = geometry.offset_in_cluster(placement.offset);
  const uint64_t clusters = geometry.clusters_for(in_cluster + placement.length);
  if (keeps_host(extent)) {
    if (hits_metadata(extent, placement.length))
      co_return co_await image_.guard.check(extent.host_offset, placement.length,
                                            Structure::kGuestData);
    placement.host = {geometry.cluster_of(extent.host_offset), clusters};
    placement.kept = true;
    co_return {};
  }
  // The table first: if there is no room for it, nothing has to be given back.
  while (!image_.map.is_ready(placement.first_cluster))
    CO_TRY_VOID(co_await image_.map.make_ready(placement.first_cluster));
  CO_TRY(const Refcounts::Allocation allocation, co_await image_.refcounts.allocate(clusters));
  placement.host = allocation.run;
  placement.fresh = allocation.fresh && image_.data().unwritten_reads_as_zeros();
  placement.length =
      std::min(placement.length, geometry.offset_of(allocation.run.count) - in_cluster);
  co_return {};
}

// Whole clusters, or whole subclusters. When a cluster moves, the subclusters that it has data for
// move with it; those that are zeros or belong to the backing file stay what they are.
Task<Result<void>> Writer::find_bounds(Placement& placement) {
  const Geometry& geometry = image_.geometry;
  placement.begin = align_down(placement.offset, geometry.granule_bytes());
  placement.end = align_up(placement.offset + placement.length, geometry.granule_bytes());
  if (!geometry.extended_l2 || placement.kept) co_return {};
  while (!image_.map.is_ready(placement.first_cluster))
    CO_TRY_VOID(co_await image_.map.make_ready(placement.first_cluster));
  const uint64_t last_cluster = placement.first_cluster + placement.host.count - 1;
  const auto moved = [this](uint64_t cluster) {
    const L2Entry old = image_.map.entry(cluster);
    return old.compressed() ? kAllSubclusters : old.allocated();
  };
  uint64_t begin = placement.begin;
  uint64_t end = placement.end;
  if (const uint32_t subclusters = moved(placement.first_cluster); subclusters != 0)
    begin = geometry.offset_of(placement.first_cluster) +
            (static_cast<uint64_t>(std::countr_zero(subclusters)) << geometry.granule_bits());
  if (const uint32_t subclusters = moved(last_cluster); subclusters != 0)
    end = geometry.offset_of(last_cluster) +
          (static_cast<uint64_t>(std::bit_width(subclusters)) << geometry.granule_bits());
  if (begin >= placement.begin && end <= placement.end) co_return {};
  placement.begin = std::min(placement.begin, begin);
  placement.end = std::max(placement.end, end);
  placement.old_zero = false;
  co_return {};
}

// Data, and around it what was there before, in one write.
Task<Result<void>> Writer::fill(const Placement& placement, std::span<const iovec> data) {
  const Geometry& geometry = image_.geometry;
  const uint64_t host_offset = geometry.offset_of(placement.host.first) + placement.begin -
                               geometry.offset_of(placement.first_cluster);
  const uint64_t head_bytes = placement.offset - placement.begin;
  if (placement.fresh && placement.old_zero)
    co_return co_await image_.data().write(host_offset + head_bytes, data);

  const uint64_t tail_bytes = placement.end - (placement.offset + placement.length);
  std::unique_ptr<std::byte[]> around;
  std::vector<iovec> buffers;
  buffers.reserve(data.size() + 2);
  if (head_bytes + tail_bytes != 0) {
    // Value-initialised: zeros.
    around = std::make_unique<std::byte[]>(head_bytes + tail_bytes);
    const std::span head(around.get(), head_bytes);
    const std::span tail(around.get() + head_bytes, tail_bytes);
    if (!placement.old_zero) CO_TRY_VOID(co_await read_around(placement, head, tail));
    if (head_bytes != 0) buffers.push_back({head.data(), head_bytes});
    buffers.insert(buffers.end(), data.begin(), data.end());
    if (tail_bytes != 0) buffers.push_back({tail.data(), tail_bytes});
  } else {
    buffers.assign(data.begin(), data.end());
  }
  co_return co_await image_.data().write(host_offset, buffers);
}

Task<Result<void>> Writer::read_around(const Placement& placement, std::span<std::byte> head,
                                       std::span<std::byte> tail) {
  const uint64_t start = placement.begin;
  const uint64_t end = placement.offset + placement.length;
  if (head.empty() || tail.empty() || placement.length > kMaxMiddleBytes) {
    if (!head.empty()) CO_TRY_VOID(co_await reader_.read_for_copy(start, head));
    if (!tail.empty()) CO_TRY_VOID(co_await reader_.read_for_copy(end, tail));
    co_return {};
  }
  // At most kMaxMiddleBytes lie between: one read.
  std::vector<std::byte> whole(head.size() + placement.length + tail.size());
  CO_TRY_VOID(co_await reader_.read_for_copy(start, whole));
  std::copy_n(whole.begin(), head.size(), head.begin());
  std::copy_n(whole.end() - static_cast<ptrdiff_t>(tail.size()), tail.size(), tail.begin());
  co_return {};
}

Task<Result<void>> Writer::publish(const Placement& placement) {
  while (!image_.map.is_ready(placement.first_cluster))
    CO_TRY_VOID(co_await image_.map.make_ready(placement.first_cluster));
  for (uint64_t i = 0; i < placement.host.count; ++i) {
    const uint64_t cluster = placement.first_cluster + i;
    image_.map.set_entry(cluster, filled_entry(placement, cluster),
                         placement.fresh && placement.old_zero);
  }
  co_return {};
}

L2Entry Writer::filled_entry(const Placement& placement, uint64_t cluster) {
  const Geometry& geometry = image_.geometry;
  const uint64_t host = placement.host.first + cluster - placement.first_cluster;
  L2Entry entry{geometry.offset_of(host) | kCopiedFlag, 0, image_.header->has_data_file()};
  if (!geometry.extended_l2) return entry;
  const uint64_t start = geometry.offset_of(cluster);
  const uint64_t begin = std::max(placement.begin, start) - start;
  const uint64_t end = std::min(placement.end - start, geometry.cluster_bytes());
  const uint32_t filled = subcluster_mask(static_cast<uint32_t>(begin >> geometry.granule_bits()),
                                          static_cast<uint32_t>(end >> geometry.granule_bits()));
  const L2Entry old = image_.map.entry(cluster);
  const uint32_t kept = placement.kept ? old.allocated() : 0;
  entry.bitmap = L2Entry::make_bitmap(kept | filled, old.zeros() & ~filled);
  return entry;
}

}  // namespace hull::blockcore::qcow2
