#include "blockcore/qcow2/edit/compact.h"

#include <algorithm>
#include <vector>

#include "blockcore/qcow2/data/compressed.h"
#include "blockcore/qcow2/edit/resize.h"
#include "blockcore/qcow2/mapping/own_tables.h"

namespace hull::blockcore::qcow2 {
namespace {

class Mover final : public OwnClusterWork {
 public:
  // Nothing is moved from below `limit`, and nothing to there or behind it.
  Mover(Parts& parts, CompactCounts& counts, uint64_t limit)
      : parts_(parts),
        image_(parts.image),
        geometry_(parts.image.geometry),
        counts_(counts),
        limit_(limit),
        memory_(own_transfer_bytes(geometry_)),
        decompressor_(parts.image.header->compression) {}

  bool finished() const override { return full_; }

  Task<Result<void>> begin_table(uint64_t l1_index) override {
    const uint64_t table = image_.map.l1()[l1_index] & kOffsetMask;
    if (geometry_.cluster_of(table) < limit_) co_return {};
    CO_TRY(const bool moved, co_await image_.map.move_table(l1_index, limit_));
    full_ = !moved;
    if (moved) ++counts_.moved;
    co_return {};
  }

  Task<Result<uint64_t>> run(uint64_t cluster, uint64_t most) override {
    if (full_) co_return most;
    const L2Entry first = image_.map.entry(cluster);
    if (first.compressed()) co_return co_await move_compressed(cluster, most);
    if (!is_movable(first)) co_return uint64_t{1};
    most = std::min(most, memory_.size() >> geometry_.cluster_bits);
    const uint64_t row =
        count_row(image_, cluster, most, [this](L2Entry entry) { return is_movable(entry); });
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

// The L1 table goes where a table of its size has room, if that is lower down.
Task<Result<void>> move_l1_down(Parts& parts, CompactCounts& counts, uint64_t limit) {
  Image& image = parts.image;
  const Geometry& geometry = image.geometry;
  const uint64_t clusters = geometry.clusters_for(uint64_t{image.header->l1_entries} * 8);
  const uint64_t first = geometry.cluster_of(image.header->l1_offset);
  if (clusters == 0 || first + clusters <= limit) co_return {};
  const Result<HostRun> room = co_await image.refcounts.allocate_row(clusters);
  // A block device may have none; then it stays.
  if (!room && room.error().kind() == ErrorKind::kNoSpace) co_return {};
  if (!room) co_return std::unexpected(room.error());
  std::vector<HostRun> unused{*room};
  CO_TRY_VOID(co_await image.refcounts.release(std::move(unused), /*punch=*/false));
  if (room->first >= first) co_return {};
  CO_TRY_VOID(co_await move_l1(parts, image.header->l1_entries));
  counts.moved += clusters;
  CO_TRY_VOID(co_await parts.committer.commit_all());
  co_return co_await image.map.reload();
}

}  // namespace

Task<Result<void>> move_down(Parts& parts, CompactCounts& counts, const ProgressReport& progress) {
  CO_TRY(uint64_t used, co_await parts.image.refcounts.count_used());
  // Streams that are packed again may leave clusters free below those that were far enough down.
  for (uint64_t before = used + 1; used < before;) {
    before = used;
    Mover mover(parts, counts, used);
    CO_TRY_VOID(co_await for_each_own_cluster(parts, mover, progress));
    CO_TRY(used, co_await parts.image.refcounts.count_used());
  }
  co_return co_await move_l1_down(parts, counts, used);
}

}  // namespace hull::blockcore::qcow2
