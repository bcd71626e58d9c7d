#include "blockcore/qcow2/check/rebuild.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/edit/copied_flags.h"
#include "blockcore/qcow2/format/refcount_block.h"
#include "blockcore/qcow2/format/snapshot_table.h"

namespace hull::blockcore::qcow2 {
namespace {

// The blocks of a refcount table that describe something in use: their indices, ascending.
using BlockNumbers = std::vector<uint64_t>;

// Where the new structures go: table, then blocks.
struct NewRefcounts {
  uint64_t first_cluster = 0;
  uint64_t table_clusters = 1;
  BlockNumbers blocks = {};
  uint64_t used_end = 0;  // everything else lies before it
  uint64_t end() const { return first_cluster + table_clusters + blocks.size(); }
  uint64_t counted() const { return std::max(used_end, end()); }
  bool holds(uint64_t cluster) const { return cluster >= first_cluster && cluster < end(); }
};

BlockNumbers blocks_in_use(const References& references, const Geometry& geometry) {
  BlockNumbers blocks;
  const uint64_t end = references.clusters();
  for (uint64_t next = references.counts().next_counted(0, end); next < end;) {
    blocks.push_back(next >> geometry.refcounts_per_block_bits());
    next = references.counts().next_counted(
        (blocks.back() + 1) << geometry.refcounts_per_block_bits(), end);
  }
  return blocks;
}

// The new structures begin at `first_cluster` and describe themselves as well: the fewest blocks
// that do, besides those in `used`.
void fit(NewRefcounts& place, uint64_t first_cluster, const BlockNumbers& used,
         const Geometry& geometry) {
  place.first_cluster = first_cluster;
  place.table_clusters = 1;
  uint64_t blocks = 1;
  for (;;) {
    const uint64_t own_first = first_cluster >> geometry.refcounts_per_block_bits();
    const uint64_t own_last =
        (first_cluster + place.table_clusters + blocks - 1) >> geometry.refcounts_per_block_bits();
    const auto before = std::ranges::lower_bound(used, own_first);
    const auto behind = std::ranges::upper_bound(used, own_last);
    const uint64_t own = own_last - own_first + 1;
    const uint64_t needed = used.size() - static_cast<uint64_t>(behind - before) + own;
    const uint64_t last = used.empty() ? own_last : std::max(used.back(), own_last);
    const uint64_t tables = geometry.clusters_for((last + 1) * 8);
    if (needed > blocks || tables > place.table_clusters) {
      blocks = std::max(blocks, needed);
      place.table_clusters = std::max(place.table_clusters, tables);
      continue;
    }
    place.blocks.assign(used.begin(), before);
    for (uint64_t i = own_first; i <= own_last; ++i) place.blocks.push_back(i);
    place.blocks.insert(place.blocks.end(), behind, used.end());
    return;
  }
}

Result<NewRefcounts> plan_at_end(const References& references, const Geometry& geometry) {
  // Entries that point past the end of the file must not come to point at these.
  std::vector<HostRun> outside = references.outside();
  if (outside.size() == References::kMaxOutside)
    return fail(ErrorKind::kCorrupt, "too many entries refer to places outside the file");
  std::ranges::sort(outside, {}, &HostRun::first);
  BlockNumbers used = blocks_in_use(references, geometry);
  NewRefcounts plan;
  // The last counter belongs to a cluster behind the file.
  const uint64_t file_end = references.clusters();
  fit(plan, file_end - (references[file_end - 1] == 0 ? 1 : 0), used, geometry);
  for (const HostRun run : outside) {
    if (run.first >= plan.end()) break;
    fit(plan, std::max(plan.first_cluster, run.first + run.count), used, geometry);
  }
  // What they point at between the end of the file and here counts as used.
  if (plan.first_cluster > file_end) {
    const uint64_t last = (plan.first_cluster - 1) >> geometry.refcounts_per_block_bits();
    for (uint64_t block = file_end >> geometry.refcounts_per_block_bits(); block <= last; ++block)
      if (used.empty() || used.back() < block) used.push_back(block);
    fit(plan, plan.first_cluster, used, geometry);
  }
  return plan;
}

Result<void> fill_block(const NewRefcounts& plan, const References& references,
                        const Geometry& geometry, uint64_t first, std::span<std::byte> block) {
  std::ranges::fill(block, std::byte{});
  const uint64_t end = std::min(plan.counted(), first + geometry.refcounts_per_block());
  const uint64_t gap = references.outside().empty() ? 0 : 1;
  for (uint64_t cluster = first; cluster < end; ++cluster) {
    uint64_t count = 1;
    // Between the end of the file and the new structures lies what entries point at.
    if (!plan.holds(cluster)) count = cluster < references.clusters() ? references[cluster] : gap;
    if (count > geometry.max_refcount())
      return fail(ErrorKind::kCorrupt, "host cluster {:#x} has {} references, too many for {} bits",
                  geometry.offset_of(cluster), count, geometry.refcount_bits());
    if (count != 0) set_refcount(block.data(), geometry.refcount_order, cluster - first, count);
  }
  return {};
}

Task<Result<void>> write_structures(File& file, const Geometry& geometry, const NewRefcounts& plan,
                                    const References& references) {
  std::vector<std::byte> table(geometry.offset_of(plan.table_clusters));
  std::vector<std::byte> block(geometry.cluster_bytes());
  uint64_t cluster = plan.first_cluster + plan.table_clusters;
  for (const uint64_t number : plan.blocks) {
    const Be64 entry = geometry.offset_of(cluster);
    std::memcpy(table.data() + number * sizeof entry, &entry, sizeof entry);
    CO_TRY_VOID(
        fill_block(plan, references, geometry, number * geometry.refcounts_per_block(), block));
    CO_TRY_VOID(co_await write_exactly(file, geometry.offset_of(cluster++), block));
  }
  CO_TRY_VOID(co_await write_exactly(file, geometry.offset_of(plan.first_cluster), table));
  co_return co_await file.flush();
}

// Sorted.
Task<Result<std::vector<uint64_t>>> clusters_of_structures(File& file, const Header& header) {
  const Geometry& geometry = header.geometry;
  CO_TRY(const std::vector<uint64_t> table,
         co_await read_table(file, header.refcount_table_offset,
                             geometry.offset_of(header.refcount_table_clusters) / 8));
  std::vector<uint64_t> clusters;
  clusters.reserve(header.refcount_table_clusters + table.size());
  for (uint64_t i = 0; i < header.refcount_table_clusters; ++i)
    clusters.push_back(geometry.cluster_of(header.refcount_table_offset) + i);
  for (const uint64_t entry : table)
    if ((entry & kRefcountOffsetMask) != 0)
      clusters.push_back(geometry.cluster_of(entry & kRefcountOffsetMask));
  std::ranges::sort(clusters);
  co_return clusters;
}

// The first row of free clusters, where the old structures are not either: until the header says
// otherwise, they count.
NewRefcounts find_place(const References& references, const std::vector<uint64_t>& old,
                        uint64_t used_end, const Geometry& geometry) {
  const BlockNumbers used = blocks_in_use(references, geometry);
  NewRefcounts place{.used_end = used_end};
  fit(place, 1, used, geometry);
  uint64_t row_first = 1;  // of the free clusters before `next`
  for (uint64_t next = 1; next < std::max(place.end(), row_first + 1); ++next) {
    if ((next < references.clusters() && references[next] != 0) ||
        std::ranges::binary_search(old, next))
      row_first = next + 1;
    else if (place.first_cluster != row_first)
      fit(place, row_first, used, geometry);
  }
  return place;
}

std::unexpected<Error> no_room(const File& file) {
  return fail(ErrorKind::kNoSpace,
              "{}: the device has no room for new refcounts beside the old ones", file.path());
}

// A device cannot get longer: what nobody uses is looked for inside it.
Task<Result<NewRefcounts>> plan_inside(File& file, const Header& header,
                                       const References& references, const Geometry& geometry) {
  if (!references.outside().empty())
    co_return fail(ErrorKind::kCorrupt, "{}: entries refer to places outside the device",
                   file.path());
  // Of a table that cannot be read nothing counts.
  auto structures = co_await clusters_of_structures(file, header);
  const std::vector<uint64_t> old = structures ? *std::move(structures) : std::vector<uint64_t>();
  const NewRefcounts place =
      find_place(references, old, references.counts().end_of_counted(), geometry);
  if (geometry.offset_of(place.end()) > file.max_size_bytes()) co_return no_room(file);
  co_return place;
}

Result<NewRefcounts> with_limit(Result<NewRefcounts> place, const Geometry& geometry) {
  if (place && geometry.offset_of(place->table_clusters) > kMaxRefcountTableBytes)
    return fail(ErrorKind::kOutOfRange, "the refcount table would exceed 8 MiB");
  return place;
}

// `geometry`: with the refcounts' new width.
Task<Result<NewRefcounts>> plan(File& file, const Header& header, const References& references,
                                const Geometry& geometry) {
  if (!file.is_block_device()) co_return with_limit(plan_at_end(references, geometry), geometry);
  auto inside = co_await plan_inside(file, header, references, geometry);
  co_return with_limit(std::move(inside), geometry);
}

// So many clusters that nobody uses, one behind the other.
Task<Result<uint64_t>> find_row(File& file, const Header& header, uint64_t clusters) {
  const Geometry& geometry = header.geometry;
  if (!file.is_block_device()) co_return geometry.clusters_for(file.size_bytes());
  CO_TRY(References references, References::create(file.size_bytes(), geometry));
  Findings findings;
  CO_TRY_VOID(co_await count_references(file, header, references, findings));
  if (findings.unfollowed)
    co_return fail(ErrorKind::kCorrupt, "{}: what is free on the device cannot be said",
                   file.path());
  CO_TRY(const std::vector<uint64_t> old, co_await clusters_of_structures(file, header));
  uint64_t first = 1;
  for (uint64_t next = 1; next < first + clusters; ++next)
    if ((next < references.clusters() && references[next] != 0) ||
        std::ranges::binary_search(old, next))
      first = next + 1;
  if (geometry.offset_of(first + clusters) > file.max_size_bytes()) co_return no_room(file);
  co_return first;
}

// Returns how many clusters before `end` are free, after giving them back.
Task<Result<uint64_t>> give_back_holes(File& file, const References& references,
                                       const std::vector<uint64_t>& structures, uint64_t end,
                                       const Geometry& geometry) {
  uint64_t holes = 0;
  auto structure = structures.begin();
  for (uint64_t free = 0; free < end;) {
    while (structure != structures.end() && *structure < free) ++structure;
    uint64_t used = references.counts().next_counted(free, end);
    if (used == references.clusters()) used = end;
    if (structure != structures.end()) used = std::min(used, *structure);
    // A hint to the host: if it fails, nothing is lost.
    if (used > free)
      (void)co_await file.discard(geometry.offset_of(free), geometry.offset_of(used - free));
    holes += used - free;
    free = used + 1;
  }
  co_return holes;
}

}  // namespace

Task<Result<uint64_t>> pack_refcounts(File& file, ImageHeader& header) {
  const Geometry geometry = header->geometry;
  CO_TRY(References references, References::create(file.size_bytes(), geometry));
  Findings findings;
  CO_TRY_VOID(co_await count_references(file, *header, references, findings));
  if (findings.corruptions != 0)
    co_return fail(ErrorKind::kCorrupt, "cannot shorten the file: {}", findings.messages.front());
  CO_TRY(std::vector<uint64_t> structures, co_await clusters_of_structures(file, *header));
  const uint64_t used_end = references.counts().end_of_counted();
  const NewRefcounts place = find_place(references, structures, used_end, geometry);
  if (place.counted() < structures.back() + 1) {
    CO_TRY_VOID(co_await write_structures(file, geometry, place, references));
    CO_TRY_VOID(co_await header.set_refcount_table(file, geometry.offset_of(place.first_cluster),
                                                   static_cast<uint32_t>(place.table_clusters)));
    CO_TRY(structures, co_await clusters_of_structures(file, *header));
  }
  const uint64_t end = std::max(used_end, structures.back() + 1);
  if (!file.is_block_device() && geometry.offset_of(end) < file.size_bytes()) {
    CO_TRY_VOID(file.cut_to(geometry.offset_of(end)));
    CO_TRY_VOID(co_await file.flush());
  }
  co_return co_await give_back_holes(file, references, structures, end, geometry);
}

Task<Result<void>> write_new_refcounts(File& file, ImageHeader& header,
                                       const References& references, Header changed) {
  const Geometry geometry = header->geometry;
  CO_TRY(const NewRefcounts place, co_await plan(file, *header, references, geometry));
  CO_TRY_VOID(co_await write_structures(file, geometry, place, references));
  changed.refcount_table_offset = geometry.offset_of(place.first_cluster);
  changed.refcount_table_clusters = static_cast<uint32_t>(place.table_clusters);
  co_return co_await header.update(file, std::move(changed));
}

Task<Result<void>> complete_snapshots(File& file, ImageHeader& header) {
  const Geometry geometry = header->geometry;
  CO_TRY(const SnapshotTable table, co_await read_whole_snapshot_table(file, *header));
  if (std::ranges::none_of(table.snapshots, &Snapshot::incomplete)) co_return {};
  CO_TRY(std::vector<std::byte> bytes, encode_snapshot_table(table.snapshots));
  bytes.resize(geometry.offset_of(geometry.clusters_for(bytes.size())));
  Header changed = *header;
  CO_TRY(const uint64_t row, co_await find_row(file, *header, geometry.clusters_for(bytes.size())));
  changed.snapshots_offset = geometry.offset_of(row);
  CO_TRY_VOID(co_await write_exactly(file, changed.snapshots_offset, bytes));
  CO_TRY(References references, References::create(file.size_bytes(), geometry));
  Findings again;
  CO_TRY_VOID(co_await count_references(file, changed, references, again));
  if (again.corruptions != 0)
    co_return fail(ErrorKind::kCorrupt, "cannot rewrite the snapshot table: {}",
                   again.messages.front());
  co_return co_await write_new_refcounts(file, header, references, std::move(changed));
}

Task<Result<void>> rebuild_refcounts(File& file, ImageHeader& header) {
  CO_TRY(References references, References::create(file.size_bytes(), header->geometry));
  Findings findings;
  CO_TRY_VOID(co_await count_references(file, *header, references, findings));
  if (findings.corruptions != 0)
    co_return fail(ErrorKind::kCorrupt, "cannot rebuild the refcounts: {}",
                   findings.messages.front());
  // COPIED first: with the dirty bit still set nobody trusts what is there.
  const SoleTables sole(*header, references);
  CO_TRY_VOID(co_await check_copied_flags(file, *header, references, findings, &sole));
  Header changed = *header;
  changed.incompatible &= ~kIncompatibleDirty;
  co_return co_await write_new_refcounts(file, header, references, std::move(changed));
}

Task<Result<void>> change_refcount_width(File& file, ImageHeader& header, uint32_t refcount_order) {
  CHECK(header->version >= 3 && refcount_order <= kMaxRefcountOrder);
  CO_TRY(References references, References::create(file.size_bytes(), header->geometry));
  Findings findings;
  CO_TRY_VOID(co_await count_references(file, *header, references, findings));
  if (findings.corruptions != 0)
    co_return fail(ErrorKind::kCorrupt, "cannot rewrite the refcounts: {}",
                   findings.messages.front());
  Header changed = *header;
  changed.geometry.refcount_order = refcount_order;
  CO_TRY(const NewRefcounts place, co_await plan(file, *header, references, changed.geometry));
  CO_TRY_VOID(co_await write_structures(file, changed.geometry, place, references));
  changed.refcount_table_offset = changed.geometry.offset_of(place.first_cluster);
  changed.refcount_table_clusters = static_cast<uint32_t>(place.table_clusters);
  co_return co_await header.update(file, std::move(changed));
}

}  // namespace hull::blockcore::qcow2
