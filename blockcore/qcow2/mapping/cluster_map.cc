#include "blockcore/qcow2/mapping/cluster_map.h"

#include <algorithm>

#include "base/check.h"
#include "blockcore/qcow2/alloc/write_back.h"

namespace hull::blockcore::qcow2 {

ClusterMap::ClusterMap(File& file, const Header& header, Refcounts& refcounts, InUse& in_use,
                       uint64_t cache_bytes)
    : file_(file),
      header_(header),
      geometry_(header.geometry),
      refcounts_(refcounts),
      cache_(file, in_use, header.geometry.slice_bytes(), cache_bytes) {}

Task<Result<void>> ClusterMap::read_l1() {
  // An L1 table may be longer than the disk needs (saved state of a VM follows the disk).
  co_return co_await l1_.read(file_, header_.l1_offset,
                              geometry_.l1_entries_for(header_.size_bytes));
}

Task<Result<void>> ClusterMap::reload() {
  CHECK(!dirty() && unlinked_.empty());
  cache_.clear();
  co_return co_await read_l1();
}

Task<Result<void>> ClusterMap::reload(uint64_t l1_entries) {
  CHECK(!dirty() && unlinked_.empty());
  cache_.clear();
  co_return co_await l1_.read(file_, header_.l1_offset, l1_entries);
}

uint64_t ClusterMap::slice_key(uint64_t cluster) const {
  return cluster >> geometry_.l2_slice_entries_bits();
}

L2Entry ClusterMap::load_entry(const Slice& slice, uint64_t cluster) const {
  const uint64_t index = cluster & (geometry_.l2_slice_entries() - 1);
  const bool external = header_.has_data_file();
  if (!geometry_.extended_l2) return {slice.load_entry(index), 0, external};
  return {slice.load_entry(index * 2), slice.load_entry(index * 2 + 1), external};
}

ClusterKind ClusterMap::checked_kind(L2Entry entry, uint64_t cluster, uint32_t subcluster) const {
  if (geometry_.extended_l2 && !entry.bitmap_is_valid()) return ClusterKind::kInvalid;
  if (entry.compressed()) return entry.external ? ClusterKind::kInvalid : ClusterKind::kCompressed;
  if ((entry.value & kZeroFlag) != 0 && !header_.has_zero_flag()) return ClusterKind::kInvalid;
  const ClusterKind kind = geometry_.extended_l2 ? entry.subcluster_kind(subcluster) : entry.kind();
  const uint64_t host = entry.host_offset();
  if (entry.external)
    return entry.has_host() && host != geometry_.offset_of(cluster) ? ClusterKind::kInvalid : kind;
  if (geometry_.offset_in_cluster(host) != 0) return ClusterKind::kInvalid;
  if (host == 0) return kind;
  return is_fixed_table(host).empty() ? kind : ClusterKind::kInvalid;
}

// The tables that are found without looking at the file must never be guest data that is written.
// Who only reads has no use for them, and they may be what is wrong.
std::string_view ClusterMap::is_fixed_table(uint64_t host) const {
  if (read_only_) return "";
  const auto inside = [host](uint64_t table, uint64_t bytes) {
    return host >= table && host - table < bytes;
  };
  if (inside(header_.l1_offset, uint64_t{header_.l1_entries} * 8)) return "the L1 table";
  if (inside(header_.refcount_table_offset, geometry_.offset_of(header_.refcount_table_clusters)))
    return "the refcount table";
  return "";
}

bool ClusterMap::is_writable(L2Entry entry) const { return entry.external || entry.writable(); }

// From there to the end of the cluster at most.
uint64_t ClusterMap::bytes_alike(L2Entry entry, uint64_t in_cluster) const {
  const uint64_t rest = geometry_.cluster_bytes() - in_cluster;
  if (!geometry_.extended_l2 || entry.compressed()) return rest;
  const uint32_t first = geometry_.subcluster_of(in_cluster);
  const uint64_t end = uint64_t{first + entry.subclusters_alike(first)} << geometry_.granule_bits();
  return end - in_cluster;
}

std::optional<Extent> ClusterMap::find(uint64_t offset, uint64_t length) {
  const uint64_t cluster = geometry_.cluster_of(offset);
  const uint64_t in_cluster = geometry_.offset_in_cluster(offset);
  const uint64_t l1_index = geometry_.l1_index(cluster);
  if ((l1_[l1_index] & kOffsetMask) == 0) {
    const uint64_t end = (l1_index + 1) << geometry_.l1_entry_span_bits();
    Extent unallocated;
    unallocated.length = std::min(length, end - offset);
    unallocated.writable = header_.has_data_file();
    unallocated.host_offset = unallocated.writable ? offset : 0;
    return unallocated;
  }
  const Slice* slice = cache_.find(slice_key(cluster));
  if (slice == nullptr) return std::nullopt;

  const L2Entry first = load_entry(*slice, cluster);
  Extent extent;
  extent.kind = checked_kind(first, cluster, geometry_.subcluster_of(in_cluster));
  extent.entry = first;
  extent.writable = extent.kind != ClusterKind::kCompressed && is_writable(first);
  const bool contiguous =
      (extent.kind == ClusterKind::kNormal || extent.writable) && !first.external;
  if (contiguous) extent.host_offset = first.host_offset() + in_cluster;
  if (first.external) extent.host_offset = offset;
  const uint64_t end_of_slice = (cluster | (geometry_.l2_slice_entries() - 1)) + 1;
  uint64_t next = cluster + 1;
  extent.length = bytes_alike(first, in_cluster);
  while (extent.length < length && next < end_of_slice && extent.kind != ClusterKind::kCompressed &&
         geometry_.offset_in_cluster(offset + extent.length) == 0) {
    const L2Entry entry = load_entry(*slice, next);
    if (checked_kind(entry, next, 0) != extent.kind || is_writable(entry) != extent.writable) break;
    if (contiguous &&
        entry.host_offset() != first.host_offset() + geometry_.offset_of(next - cluster))
      break;
    extent.length += bytes_alike(entry, 0);
    ++next;
  }
  extent.length = std::min(extent.length, length);
  return extent;
}

Error ClusterMap::invalid_entry(uint64_t offset, const Extent& extent) const {
  std::string text = fmt::format("{}: the L2 entry of guest offset {:#x} is {:#x}", file_.path(),
                                 offset, extent.entry.value);
  if (geometry_.extended_l2) text += fmt::format(", bitmap {:#x}", extent.entry.bitmap);
  if (const std::string_view table = is_fixed_table(extent.entry.host_offset()); !table.empty())
    text += fmt::format(", where {} is according to the header", table);
  return Error(ErrorKind::kCorrupt, std::move(text));
}

Result<uint64_t> ClusterMap::table_offset(uint64_t l1_index) const {
  const uint64_t offset = l1_[l1_index] & kOffsetMask;
  if (geometry_.offset_in_cluster(offset) != 0)
    return fail(ErrorKind::kCorrupt, "{}: L1 entry {} is {:#x}", file_.path(), l1_index,
                l1_[l1_index]);
  return offset;
}

Task<Result<void>> ClusterMap::load(uint64_t offset) {
  const uint64_t cluster = geometry_.cluster_of(offset);
  CO_TRY(const uint64_t table, table_offset(geometry_.l1_index(cluster)));
  const uint64_t slice_in_table = slice_key(cluster) & (geometry_.slices_per_cluster() - 1);
  co_return co_await cache_.load(slice_key(cluster),
                                 table + slice_in_table * geometry_.slice_bytes());
}

bool ClusterMap::is_ready(uint64_t cluster) {
  return (l1_[geometry_.l1_index(cluster)] & kCopiedFlag) != 0 &&
         (l1_[geometry_.l1_index(cluster)] & kOffsetMask) != 0 &&
         cache_.find(slice_key(cluster)) != nullptr;
}

L2Entry ClusterMap::entry(uint64_t cluster) {
  const Slice* slice = cache_.find(slice_key(cluster));
  CHECK(slice != nullptr);
  return load_entry(*slice, cluster);
}

void ClusterMap::set_entry(uint64_t cluster, L2Entry entry, bool unordered) {
  CHECK(is_ready(cluster));
  Slice& slice = *cache_.find(slice_key(cluster));
  const L2Entry old = load_entry(slice, cluster);
  if (old == entry) return;
  if (!unordered) needs_data_ = true;
  const bool keeps_host =
      !old.compressed() && !entry.compressed() && old.host_offset() == entry.host_offset();
  if (!keeps_host) unlink(old);
  const uint64_t index = cluster & (geometry_.l2_slice_entries() - 1);
  if (geometry_.extended_l2) {
    slice.store_entry(index * 2, entry.value);
    slice.store_entry(index * 2 + 1, entry.bitmap);
  } else {
    slice.store_entry(index, entry.value);
  }
  cache_.mark_dirty(slice);
}

void ClusterMap::unlink(L2Entry entry) {
  if (entry.external) return;
  if (entry.compressed()) {
    const CompressedExtent extent = compressed_extent(entry, geometry_.cluster_bits);
    const uint64_t first = geometry_.cluster_of(extent.host_offset);
    const uint64_t last = geometry_.cluster_of(extent.host_offset + extent.bytes - 1);
    add_run(unlinked_, {first, last - first + 1});
  } else if (entry.host_offset() != 0) {
    add_run(unlinked_, {geometry_.cluster_of(entry.host_offset()), 1});
  }
}

void ClusterMap::drop_tables(uint64_t first_l1_index) {
  CHECK(!dirty());
  for (uint64_t i = first_l1_index; i < l1_.size(); ++i) {
    const uint64_t table = l1_[i] & kOffsetMask;
    if (table == 0) continue;
    l1_.set(i, 0);
    add_run(unlinked_, {geometry_.cluster_of(table), 1});
  }
  cache_.clear();
}

std::vector<Slice*> ClusterMap::cached_slices(uint64_t l1_index) {
  std::vector<Slice*> slices;
  const uint64_t first = l1_index * geometry_.slices_per_cluster();
  for (uint64_t key = first; key < first + geometry_.slices_per_cluster(); ++key)
    if (Slice* const slice = cache_.find(key)) slices.push_back(slice);
  return slices;
}

void ClusterMap::place(SliceCache::Copies& copies) const {
  const uint64_t per_table = geometry_.slices_per_cluster();
  for (SliceCache::Copy& copy : copies.slices)
    copy.host_offset =
        (l1_[copy.key / per_table] & kOffsetMask) + copy.key % per_table * geometry_.slice_bytes();
}

}  // namespace hull::blockcore::qcow2
