#include "blockcore/qcow2/overlap.h"

#include <algorithm>

#include "base/log.h"
#include "blockcore/qcow2/snapshot_table.h"

namespace hull::blockcore::qcow2 {
namespace {

bool overlaps(uint64_t offset, uint64_t bytes, uint64_t other, uint64_t other_bytes) {
  return offset < other + other_bytes && other < offset + bytes;
}

}  // namespace

std::string_view structure_name(Structure structure) {
  switch (structure) {
    case Structure::kGuestData: return "guest data";
    case Structure::kHeader: return "the header";
    case Structure::kActiveL1: return "the active L1 table";
    case Structure::kActiveL2: return "an active L2 table";
    case Structure::kRefcountTable: return "the refcount table";
    case Structure::kRefcountBlock: return "a refcount block";
    case Structure::kSnapshots: return "a table of snapshots";
  }
  return "";
}

Task<Result<void>> OverlapGuard::read_snapshots() {
  snapshots_.clear();
  if (header_->snapshot_count == 0) co_return {};
  CO_TRY(const SnapshotTable table, co_await read_snapshot_table(file_, *header_));
  std::vector<Range> ranges;
  ranges.push_back({header_->snapshots_offset, header_->snapshots_offset + table.bytes});
  for (const Snapshot& snapshot : table.snapshots)
    if (snapshot.l1_entries != 0)
      ranges.push_back(
          {snapshot.l1_offset, snapshot.l1_offset + uint64_t{snapshot.l1_entries} * 8});
  std::ranges::sort(ranges, {}, &Range::begin);
  for (const Range& range : ranges) {
    if (snapshots_.empty() || snapshots_.back().end < range.begin)
      snapshots_.push_back(range);
    else
      snapshots_.back().end = std::max(snapshots_.back().end, range.end);
  }
  co_return {};
}

bool OverlapGuard::touches_snapshots(uint64_t offset, uint64_t bytes) const {
  if (snapshots_.empty()) return false;
  const auto after = std::ranges::lower_bound(snapshots_, offset + bytes, {}, &Range::begin);
  return after != snapshots_.begin() && std::prev(after)->end > offset;
}

std::optional<Structure> OverlapGuard::find(uint64_t offset, uint64_t bytes, Structure own) const {
  const Header& header = *header_;
  const Geometry& geometry = header.geometry;
  if (offset < geometry.cluster_bytes()) return Structure::kHeader;
  if (own != Structure::kActiveL1 &&
      overlaps(offset, bytes, header.l1_offset, uint64_t{header.l1_entries} * 8))
    return Structure::kActiveL1;
  if (own != Structure::kRefcountTable &&
      overlaps(offset, bytes, header.refcount_table_offset,
               geometry.offset_of(header.refcount_table_clusters)))
    return Structure::kRefcountTable;
  if (touches_snapshots(offset, bytes)) return Structure::kSnapshots;
  return find_in_tables(offset, bytes, own);
}

std::optional<Structure> OverlapGuard::find_in_tables(uint64_t offset, uint64_t bytes,
                                                      Structure own) const {
  const Geometry& geometry = header_->geometry;
  const uint64_t last = geometry.cluster_of(offset + bytes - 1);
  for (uint64_t cluster = geometry.cluster_of(offset); cluster <= last; ++cluster) {
    const uint64_t start = geometry.offset_of(cluster);
    if (own != Structure::kActiveL2 && l1_->refers_to(start)) return Structure::kActiveL2;
    if (own != Structure::kRefcountBlock && refcount_table_->refers_to(start))
      return Structure::kRefcountBlock;
  }
  return std::nullopt;
}

Task<Result<void>> OverlapGuard::check(uint64_t offset, uint64_t bytes, Structure own) {
  const std::optional<Structure> hit = find(offset, bytes, own);
  if (!hit) co_return {};
  co_return std::unexpected(co_await mark_corrupt(
      Error(ErrorKind::kCorrupt,
            fmt::format("{}: a write of {} at host offset {:#x} ({:#x} bytes) would hit {}",
                        file_.path(), structure_name(own), offset, bytes, structure_name(*hit)))));
}

Task<Error> OverlapGuard::mark_corrupt(Error error) {
  if (corrupt_) co_return error;
  corrupt_ = true;
  LOG_ERROR("{}; the image is marked corrupt, and nothing is written to it any more",
            error.message());
  if (header_->version < 3) co_return error;  // has no such bit
  auto marked = co_await header_.set_features(file_, header_->incompatible | kIncompatibleCorrupt,
                                              header_->autoclear);
  if (!marked) LOG_ERROR("{}: cannot be marked: {}", file_.path(), marked.error().message());
  co_return error;
}

std::unexpected<Error> OverlapGuard::refusal() const {
  return fail(ErrorKind::kCorrupt, "{}: is corrupt: nothing is written to it (hull img check)",
              file_.path());
}

}  // namespace hull::blockcore::qcow2
