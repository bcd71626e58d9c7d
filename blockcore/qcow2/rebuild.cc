#include "blockcore/qcow2/rebuild.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/qcow2/check.h"
#include "blockcore/qcow2/copied_flags.h"
#include "blockcore/qcow2/refcount_block.h"

namespace hull::blockcore::qcow2 {
namespace {

// Where the new structures go: table, then blocks, past everything that is used.
struct NewRefcounts {
  uint64_t first_cluster = 0;
  uint64_t table_clusters = 1;
  uint64_t blocks = 1;
  uint64_t end() const { return first_cluster + table_clusters + blocks; }
};

void grow_to_fit(NewRefcounts& plan, const Geometry& geometry) {
  for (;;) {
    const uint64_t blocks = divide_up(plan.end(), geometry.refcounts_per_block());
    const uint64_t tables = geometry.clusters_for(blocks * 8);
    if (blocks <= plan.blocks && tables <= plan.table_clusters) return;
    plan.blocks = std::max(plan.blocks, blocks);
    plan.table_clusters = std::max(plan.table_clusters, tables);
  }
}

Result<NewRefcounts> plan(const References& references, const Geometry& geometry) {
  NewRefcounts plan;
  // The last counter belongs to a cluster behind the file.
  plan.first_cluster = references.clusters();
  if (references[plan.first_cluster - 1] == 0) --plan.first_cluster;
  grow_to_fit(plan, geometry);
  // Entries that point past the end of the file must not come to point at these.
  std::vector<HostRun> outside = references.outside();
  if (outside.size() == References::kMaxOutside)
    return fail(ErrorKind::kCorrupt, "too many entries refer to places outside the file");
  std::ranges::sort(outside, {}, &HostRun::first);
  for (const HostRun run : outside) {
    if (run.first >= plan.end()) break;
    plan.first_cluster = std::max(plan.first_cluster, run.first + run.count);
    grow_to_fit(plan, geometry);
  }
  if (geometry.offset_of(plan.table_clusters) > kMaxRefcountTableBytes)
    return fail(ErrorKind::kOutOfRange, "the refcount table would exceed 8 MiB");
  return plan;
}

Result<void> fill_block(const NewRefcounts& plan, const References& references,
                        const Geometry& geometry, uint64_t first, std::span<std::byte> block) {
  std::ranges::fill(block, std::byte{});
  const uint64_t end = std::min(plan.end(), first + geometry.refcounts_per_block());
  for (uint64_t cluster = first; cluster < end; ++cluster) {
    uint64_t count = 1;
    if (cluster < plan.first_cluster)
      count = cluster < references.clusters() ? references[cluster] : 0;
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
  const uint64_t first_block = plan.first_cluster + plan.table_clusters;
  for (uint64_t i = 0; i < plan.blocks; ++i) {
    const Be64 entry = geometry.offset_of(first_block + i);
    std::memcpy(table.data() + i * sizeof entry, &entry, sizeof entry);
    CO_TRY_VOID(fill_block(plan, references, geometry, i * geometry.refcounts_per_block(), block));
    CO_TRY_VOID(co_await write_exactly(file, geometry.offset_of(first_block + i), block));
  }
  CO_TRY_VOID(co_await write_exactly(file, geometry.offset_of(plan.first_cluster), table));
  co_return co_await file.flush();
}

}  // namespace

Task<Result<void>> write_new_refcounts(File& file, ImageHeader& header,
                                       const References& references, bool clear_dirty) {
  const Geometry geometry = header->geometry;
  CO_TRY(const NewRefcounts place, plan(references, geometry));
  CO_TRY_VOID(co_await write_structures(file, geometry, place, references));
  co_return co_await header.set_refcount_table(file, geometry.offset_of(place.first_cluster),
                                               static_cast<uint32_t>(place.table_clusters),
                                               clear_dirty);
}

Task<Result<void>> rebuild_refcounts(File& file, ImageHeader& header) {
  CO_TRY(References references, References::create(file.size_bytes(), header->geometry));
  Findings findings;
  CO_TRY_VOID(co_await count_references(file, *header, references, findings));
  if (findings.corruptions != 0)
    co_return fail(ErrorKind::kCorrupt, "cannot rebuild the refcounts: {}",
                   findings.messages.front());
  // COPIED first: with the dirty bit still set nobody trusts what is there.
  CO_TRY_VOID(co_await check_copied_flags(file, *header, references, findings, /*fix=*/true));
  co_return co_await write_new_refcounts(file, header, references, /*clear_dirty=*/true);
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
  CO_TRY(const NewRefcounts place, plan(references, changed.geometry));
  CO_TRY_VOID(co_await write_structures(file, changed.geometry, place, references));
  changed.refcount_table_offset = changed.geometry.offset_of(place.first_cluster);
  changed.refcount_table_clusters = static_cast<uint32_t>(place.table_clusters);
  co_return co_await header.update(file, std::move(changed));
}

}  // namespace hull::blockcore::qcow2
