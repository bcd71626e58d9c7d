#include "blockcore/qcow2/compact.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/checked.h"
#include "blockcore/iovecs.h"
#include "blockcore/qcow2/compressed.h"
#include "blockcore/qcow2/resize.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr uint64_t kTransferBytes = 1 << 20;

// Clusters of that many bytes, one at least.
uint64_t clusters_of(uint64_t bytes, const Geometry& geometry) {
  return std::max<uint64_t>(1, bytes >> geometry.cluster_bits);
}

// The whole host cluster is the guest cluster's, or nothing of it is.
bool is_whole(L2Entry entry, const Geometry& geometry) {
  return !geometry.extended_l2 || entry.allocated() == kAllSubclusters || entry.allocated() == 0;
}

// Gives back clusters whose data is zeros.
class ZeroDropper {
 public:
  ZeroDropper(Parts& parts, CompactCounts& counts)
      : image_(parts.image),
        geometry_(parts.image.geometry),
        counts_(counts),
        memory_(clusters_of(kTransferBytes, geometry_) * geometry_.cluster_bytes()) {}

  // Guest clusters from `cluster` on, of one slice of a table, at most `most`. Returns how many.
  Task<Result<uint64_t>> look(uint64_t cluster, uint64_t most) {
    const L2Entry first = image_.map.entry(cluster);
    if (!first.writable() || first.compressed() || !is_whole(first, geometry_))
      co_return uint64_t{1};
    if (reads_as_zero(first)) {
      image_.map.set_entry(cluster, zero_entry());
      ++counts_.zeros;
      co_return uint64_t{1};
    }
    if (!holds_data(first)) co_return uint64_t{1};
    uint64_t row = 1;
    most = std::min(most, memory_.size() >> geometry_.cluster_bits);
    for (; row < most; ++row) {
      const L2Entry next = image_.map.entry(cluster + row);
      if (!next.writable() || !is_whole(next, geometry_) || !holds_data(next) ||
          next.host_offset() != first.host_offset() + geometry_.offset_of(row))
        break;
    }
    const iovec buffer{memory_.data(), geometry_.offset_of(row)};
    CO_TRY_VOID(co_await image_.data().read_or_zero(first.host_offset(), {&buffer, 1}));
    for (uint64_t i = 0; i < row; ++i) {
      if (!is_zero(std::span(memory_).subspan(geometry_.offset_of(i), geometry_.cluster_bytes())))
        continue;
      while (!image_.map.is_ready(cluster + i))
        CO_TRY_VOID(co_await image_.map.make_ready(cluster + i));
      image_.map.set_entry(cluster + i, zero_entry());
      ++counts_.zeros;
    }
    co_return row;
  }

 private:
  bool reads_as_zero(L2Entry entry) const {
    if (geometry_.extended_l2) return entry.zeros() == kAllSubclusters;
    return entry.kind() == ClusterKind::kZero;
  }
  bool holds_data(L2Entry entry) const {
    if (geometry_.extended_l2) return entry.allocated() == kAllSubclusters;
    return entry.kind() == ClusterKind::kNormal;
  }
  L2Entry zero_entry() const {
    if (geometry_.extended_l2)
      return {.value = 0, .bitmap = L2Entry::make_bitmap(0, kAllSubclusters)};
    return {.value = image_.header->has_zero_flag() ? kZeroFlag : 0, .bitmap = 0};
  }

  Image& image_;
  const Geometry geometry_;
  CompactCounts& counts_;
  std::vector<std::byte> memory_;
};

class Mover {
 public:
  // Nothing is moved from below `limit`, and nothing to there or behind it.
  Mover(Parts& parts, CompactCounts& counts, uint64_t limit)
      : parts_(parts),
        image_(parts.image),
        geometry_(parts.image.geometry),
        counts_(counts),
        limit_(limit),
        memory_(clusters_of(kTransferBytes, geometry_) * geometry_.cluster_bytes()),
        decompressor_(parts.image.header->compression) {}

  bool full() const { return full_; }

  Task<Result<void>> move_table(uint64_t l1_index) {
    const uint64_t table = image_.map.l1()[l1_index] & kOffsetMask;
    if (geometry_.cluster_of(table) < limit_) co_return {};
    CO_TRY(const bool moved, co_await image_.map.move_table(l1_index, limit_));
    full_ = !moved;
    if (moved) ++counts_.moved;
    co_return {};
  }

  // As ZeroDropper::look().
  Task<Result<uint64_t>> move(uint64_t cluster, uint64_t most) {
    if (full_) co_return most;
    const L2Entry first = image_.map.entry(cluster);
    if (first.compressed()) co_return co_await move_compressed(cluster, most);
    if (!is_movable(first)) co_return uint64_t{1};
    uint64_t row = 1;
    most = std::min(most, memory_.size() >> geometry_.cluster_bits);
    for (; row < most; ++row) {
      const L2Entry next = image_.map.entry(cluster + row);
      if (!is_movable(next) || next.host_offset() != first.host_offset() + geometry_.offset_of(row))
        break;
    }
    co_return co_await move_row(cluster, first.host_offset(), row);
  }

 private:
  bool is_movable(L2Entry entry) const {
    return !entry.compressed() && entry.writable() &&
           geometry_.cluster_of(entry.host_offset()) >= limit_;
  }

  // Room for at most so many clusters, below the limit; none: there is no more.
  Task<Result<HostRun>> find_room(uint64_t wanted) {
    CO_TRY(const Refcounts::Allocation allocation, co_await image_.refcounts.allocate(wanted));
    HostRun run = allocation.run;
    const uint64_t usable = run.first >= limit_ ? 0 : std::min(run.count, limit_ - run.first);
    if (usable < run.count) co_await release({run.first + usable, run.count - usable});
    run.count = usable;
    full_ = usable == 0;
    co_return run;
  }

  Task<void> release(HostRun run) {
    std::vector<HostRun> unused{run};
    (void)co_await image_.refcounts.release(std::move(unused), /*punch=*/true);
  }

  Task<Result<uint64_t>> move_row(uint64_t cluster, uint64_t old_offset, uint64_t wanted) {
    CO_TRY(HostRun room, co_await find_room(wanted));
    if (room.count == 0) co_return wanted;
    const uint64_t count = room.count;
    auto moved = co_await copy(old_offset, room);
    while (moved && room.count != 0) {
      const uint64_t guest = cluster + count - room.count;
      if (!image_.map.is_ready(guest)) {
        moved = co_await image_.map.make_ready(guest);
        continue;
      }
      const L2Entry old = image_.map.entry(guest);
      image_.map.set_entry(
          guest, {(old.value & ~kOffsetMask) | geometry_.offset_of(room.first), old.bitmap});
      ++room.first;
      --room.count;
      ++counts_.moved;
    }
    if (moved) co_return count;
    co_await release(room);
    co_return std::unexpected(std::move(moved).error());
  }

  // Encrypted data is tied to its place: it is read and written as what it means.
  Task<Result<void>> copy(uint64_t old_offset, HostRun to) {
    const iovec buffer{memory_.data(), geometry_.offset_of(to.count)};
    CO_TRY_VOID(co_await image_.data().read_or_zero(old_offset, {&buffer, 1}));
    co_return co_await image_.data().write(geometry_.offset_of(to.first), {&buffer, 1});
  }

  bool lies_behind(L2Entry entry) const {
    const CompressedExtent extent = compressed_extent(entry, geometry_.cluster_bits);
    return geometry_.cluster_of(extent.host_offset + extent.bytes - 1) >= limit_;
  }

  // Packs streams again, one behind the other. With snapshots it is not known who shares them.
  Task<Result<uint64_t>> move_compressed(uint64_t cluster, uint64_t most) {
    if (image_.header->snapshot_count != 0 || !lies_behind(image_.map.entry(cluster)))
      co_return uint64_t{1};
    uint64_t row = 1;
    most = std::min(most, memory_.size() >> geometry_.cluster_bits);
    while (row < most && image_.map.entry(cluster + row).compressed() &&
           lies_behind(image_.map.entry(cluster + row)))
      ++row;
    CO_TRY(const CompressedBatch batch,
           co_await parts_.reader.load_compressed(geometry_.offset_of(cluster),
                                                  geometry_.offset_of(row)));
    std::vector<CompressedCluster> streams;
    for (const CompressedBatch::Cluster& one : batch.clusters) {
      const auto length = decompressor_.decompress(
          batch.stream(one), std::span(memory_).first(geometry_.cluster_bytes()));
      // What is damaged stays as it is.
      if (length && *length <= geometry_.cluster_bytes())
        streams.push_back({one.offset, batch.stream(one).first(*length)});
    }
    CO_TRY_VOID(co_await parts_.packer.write(streams));
    counts_.moved += streams.size();
    co_return std::max<uint64_t>(1, batch.clusters.size());
  }

  Parts& parts_;
  Image& image_;
  const Geometry geometry_;
  CompactCounts& counts_;
  const uint64_t limit_;
  bool full_ = false;
  std::vector<std::byte> memory_;
  Decompressor decompressor_;
};

bool is_own_table(uint64_t l1_entry) {
  return (l1_entry & kCopiedFlag) != 0 && (l1_entry & kOffsetMask) != 0;
}

// Calls step(cluster, most) for the guest clusters of one table, which only the active mapping has.
template <class Step>
Task<Result<void>> walk_table(Parts& parts, uint64_t l1_index, Step step) {
  Image& image = parts.image;
  const Geometry& geometry = image.geometry;
  const uint64_t end = std::min((l1_index + 1) << geometry.l2_entries_bits(),
                                geometry.clusters_for(image.size_bytes()));
  for (uint64_t cluster = l1_index << geometry.l2_entries_bits(); cluster < end;) {
    if (parts.committer.is_due()) CO_TRY_VOID(co_await parts.committer.commit());
    if (!image.map.is_ready(cluster)) {
      CO_TRY_VOID(co_await image.map.make_ready(cluster));
      continue;
    }
    const uint64_t slice_end = (cluster | (geometry.l2_slice_entries() - 1)) + 1;
    CO_TRY(const uint64_t done, co_await step(cluster, std::min(end, slice_end) - cluster));
    cluster += done;
  }
  co_return {};
}

Task<Result<uint64_t>> count_used(Image& image) {
  const uint64_t end = image.geometry.clusters_for(image.file->size_bytes());
  uint64_t used = 0;
  for (uint64_t cluster = 0; cluster < end; ++cluster) {
    CO_TRY(const uint64_t count, co_await image.refcounts.count(cluster));
    if (count != 0) ++used;
  }
  co_return used;
}

// The L1 table goes where a table of its size has room, if that is lower down.
Task<Result<void>> move_l1_down(Parts& parts, CompactCounts& counts, uint64_t limit) {
  Image& image = parts.image;
  const Geometry& geometry = image.geometry;
  const uint64_t clusters = geometry.clusters_for(uint64_t{image.header->l1_entries} * 8);
  const uint64_t first = geometry.cluster_of(image.header->l1_offset);
  if (clusters == 0 || first + clusters <= limit) co_return {};
  CO_TRY(const HostRun room, co_await image.refcounts.allocate_row(clusters));
  std::vector<HostRun> unused{room};
  CO_TRY_VOID(co_await image.refcounts.release(std::move(unused), /*punch=*/false));
  if (room.first >= first) co_return {};
  CO_TRY_VOID(co_await move_l1(parts, image.header->l1_entries));
  counts.moved += clusters;
  CO_TRY_VOID(co_await parts.committer.commit_all());
  co_return co_await image.map.reload();
}

Task<Result<void>> move_below(Parts& parts, CompactCounts& counts, uint64_t limit,
                              const ProgressReport& progress) {
  Image& image = parts.image;
  Mover mover(parts, counts, limit);
  for (uint64_t i = 0; !mover.full() && i < image.map.l1().size(); ++i) {
    if (progress) progress(i, image.map.l1().size());
    if (!is_own_table(image.map.l1()[i])) continue;
    CO_TRY_VOID(co_await mover.move_table(i));
    CO_TRY_VOID(co_await walk_table(
        parts, i, [&mover](uint64_t cluster, uint64_t most) { return mover.move(cluster, most); }));
  }
  co_return co_await parts.committer.commit_all();
}

}  // namespace

Task<Result<void>> drop_zeros(Parts& parts, CompactCounts& counts, const ProgressReport& progress) {
  Image& image = parts.image;
  const bool can_say = image.geometry.extended_l2 || image.header->has_zero_flag() ||
                       image.header->backing_name.empty();
  ZeroDropper dropper(parts, counts);
  for (uint64_t i = 0; can_say && i < image.map.l1().size(); ++i) {
    if (progress) progress(i, image.map.l1().size());
    if (!is_own_table(image.map.l1()[i])) continue;
    CO_TRY_VOID(co_await walk_table(parts, i, [&dropper](uint64_t cluster, uint64_t most) {
      return dropper.look(cluster, most);
    }));
  }
  co_return co_await parts.committer.commit_all();
}

Task<Result<void>> move_down(Parts& parts, CompactCounts& counts, const ProgressReport& progress) {
  CO_TRY(uint64_t used, co_await count_used(parts.image));
  // Streams that are packed again may leave clusters free below those that were far enough down.
  for (uint64_t before = used + 1; used < before;) {
    before = used;
    CO_TRY_VOID(co_await move_below(parts, counts, used, progress));
    CO_TRY(used, co_await count_used(parts.image));
  }
  co_return co_await move_l1_down(parts, counts, used);
}

}  // namespace hull::blockcore::qcow2
