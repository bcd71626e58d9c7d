#include "blockcore/qcow2/alloc/overlap.h"

#include <algorithm>

#include "base/log.h"
#include "blockcore/qcow2/format/bitmap_directory.h"
#include "blockcore/qcow2/format/encryption.h"
#include "blockcore/qcow2/format/snapshot_table.h"

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
    case Structure::kBitmaps: return "a table of bitmaps";
    case Structure::kEncryption: return "the LUKS header";
  }
  return "";
}

Task<Result<void>> OverlapGuard::add_snapshots(std::vector<Place>& places) {
  if (header_->snapshot_count == 0) co_return {};
  CO_TRY(const SnapshotTable table, co_await read_snapshot_table(file_, *header_));
  const auto add = [&places](uint64_t offset, uint64_t bytes) {
    places.push_back({offset, offset + bytes, Structure::kSnapshots});
  };
  if (table.bytes != 0) add(header_->snapshots_offset, table.bytes);
  for (const Snapshot& snapshot : table.snapshots)
    if (snapshot.l1_entries != 0 && snapshot.damage.empty())
      add(snapshot.l1_offset, uint64_t{snapshot.l1_entries} * 8);
  co_return {};
}

Task<Result<void>> OverlapGuard::add_bitmaps(std::vector<Place>& places) {
  const auto directory = co_await read_bitmap_directory(file_, *header_);
  // One that makes no sense is given up, and says so, where bitmaps are used.
  if (!directory && directory.error().is_of_host()) co_return std::unexpected(directory.error());
  if (!directory || directory->bytes == 0) co_return {};
  const auto add = [&places](uint64_t offset, uint64_t bytes) {
    places.push_back({offset, offset + bytes, Structure::kBitmaps});
  };
  add(directory->offset, directory->bytes);
  for (const Bitmap& bitmap : directory->bitmaps)
    if (bitmap.table_entries != 0) add(bitmap.table_offset, uint64_t{bitmap.table_entries} * 8);
  co_return {};
}

Task<Result<void>> OverlapGuard::read_places() {
  places_.clear();
  std::vector<Place> places;
  CO_TRY_VOID(co_await add_snapshots(places));
  CO_TRY_VOID(co_await add_bitmaps(places));
  CO_TRY(const std::optional<EncryptionArea> encryption, find_encryption_area(*header_));
  if (encryption)
    places.push_back(
        {encryption->offset, encryption->offset + encryption->length, Structure::kEncryption});
  std::ranges::sort(places, {}, &Place::begin);
  uint64_t end = 0;
  for (Place place : places) {
    place.begin = std::max(place.begin, end);
    if (place.begin >= place.end) continue;
    end = place.end;
    places_.push_back(place);
  }
  co_return {};
}

std::optional<Structure> OverlapGuard::find_in_places(uint64_t offset, uint64_t bytes) const {
  if (places_.empty()) return std::nullopt;
  const auto after = std::ranges::lower_bound(places_, offset + bytes, {}, &Place::begin);
  if (after == places_.begin() || std::prev(after)->end <= offset) return std::nullopt;
  return std::prev(after)->structure;
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
  if (const auto place = find_in_places(offset, bytes)) return place;
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
