// Repair of an image whose refcounts cannot be trusted (lazy refcounts and a crash).
#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/qcow2/check.h"
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

Result<NewRefcounts> plan(const References& references, const Geometry& geometry) {
  NewRefcounts plan;
  plan.first_cluster = references.clusters();
  for (;;) {
    const uint64_t blocks = divide_up(plan.end(), geometry.refcounts_per_block());
    const uint64_t tables = geometry.clusters_for(blocks * 8);
    if (blocks == plan.blocks && tables == plan.table_clusters) break;
    plan.blocks = std::max(plan.blocks, blocks);
    plan.table_clusters = std::max(plan.table_clusters, tables);
  }
  if (geometry.offset_of(plan.table_clusters) > kMaxRefcountTableBytes)
    return fail(ErrorKind::kOutOfRange, "the refcount table would exceed 8 MiB");
  return plan;
}

Task<Result<void>> write_structures(File& file, const Geometry& geometry, const NewRefcounts& plan,
                                    const References& references) {
  std::vector<std::byte> table(geometry.offset_of(plan.table_clusters));
  std::vector<std::byte> block(geometry.cluster_bytes());
  const uint64_t first_block = plan.first_cluster + plan.table_clusters;
  for (uint64_t i = 0; i < plan.blocks; ++i) {
    const Be64 entry = geometry.offset_of(first_block + i);
    std::memcpy(table.data() + i * sizeof entry, &entry, sizeof entry);
    std::ranges::fill(block, std::byte{});
    const uint64_t first = i * geometry.refcounts_per_block();
    const uint64_t end = std::min(plan.end(), first + geometry.refcounts_per_block());
    for (uint64_t cluster = first; cluster < end; ++cluster) {
      const uint64_t count = cluster < references.clusters() ? references[cluster] : 1;
      if (count > geometry.max_refcount())
        co_return fail(ErrorKind::kCorrupt,
                       "host cluster {:#x} has {} references, too many for "
                       "{} bits",
                       geometry.offset_of(cluster), count, geometry.refcount_bits());
      set_refcount(block.data(), geometry.refcount_order, cluster - first, count);
    }
    CO_TRY_VOID(co_await write_exactly(file, geometry.offset_of(first_block + i), block));
  }
  CO_TRY_VOID(co_await write_exactly(file, geometry.offset_of(plan.first_cluster), table));
  co_return co_await file.flush();
}

// True if the flag had to be changed.
bool correct_copied(uint64_t& entry, uint64_t offset, const Geometry& geometry,
                    const References& references) {
  const uint64_t cluster = geometry.cluster_of(offset);
  const bool sole = cluster < references.clusters() && references[cluster] == 1;
  const uint64_t corrected = sole ? entry | kCopiedFlag : entry & ~kCopiedFlag;
  return std::exchange(entry, corrected) != corrected;
}

Task<Result<void>> write_entry(File& file, uint64_t offset, uint64_t entry) {
  const Be64 raw = entry;
  co_return co_await write_exactly(file, offset, std::as_bytes(std::span(&raw, 1)));
}

Task<Result<void>> correct_copied_flags(File& file, const Header& header,
                                        const References& references) {
  const Geometry& geometry = header.geometry;
  CO_TRY(std::vector<uint64_t> l1, co_await read_table(file, header.l1_offset, header.l1_entries));
  for (uint64_t i = 0; i < l1.size(); ++i) {
    const uint64_t table = l1[i] & kOffsetMask;
    if (table == 0) continue;
    if (correct_copied(l1[i], table, geometry, references))
      CO_TRY_VOID(co_await write_entry(file, header.l1_offset + i * 8, l1[i]));
    CO_TRY(std::vector<uint64_t> l2,
           co_await read_table(file, table, geometry.cluster_bytes() / 8));
    for (uint64_t at = 0; at < l2.size(); at += geometry.l2_entry_bytes() / 8) {
      const L2Entry entry{l2[at]};
      if (entry.compressed() || entry.host_offset() == 0) continue;
      if (correct_copied(l2[at], entry.host_offset(), geometry, references))
        CO_TRY_VOID(co_await write_entry(file, table + at * 8, l2[at]));
    }
  }
  co_return {};
}

}  // namespace

Task<Result<void>> rebuild_refcounts(File& file, ImageHeader& header) {
  const Geometry geometry = header->geometry;
  CO_TRY(References references, References::create(geometry.clusters_for(file.size_bytes())));
  Findings findings;
  CO_TRY_VOID(co_await count_references(file, *header, references, findings));
  if (findings.corruptions != 0)
    co_return fail(ErrorKind::kCorrupt, "cannot rebuild the refcounts: {}",
                   findings.messages.front());
  // COPIED first: with the dirty bit still set nobody trusts what is there.
  CO_TRY_VOID(co_await correct_copied_flags(file, *header, references));
  CO_TRY(const NewRefcounts place, plan(references, geometry));
  CO_TRY_VOID(co_await write_structures(file, geometry, place, references));
  co_return co_await header.set_refcount_table(file, geometry.offset_of(place.first_cluster),
                                               static_cast<uint32_t>(place.table_clusters),
                                               /*clear_dirty=*/true);
}

}  // namespace hull::blockcore::qcow2
