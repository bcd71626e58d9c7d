#include "blockcore/qcow2/check.h"

#include <algorithm>

#include "blockcore/qcow2/refcount_block.h"

namespace hull::blockcore::qcow2 {
namespace {

struct Check {
  File& file;
  const Header& header;
  References& references;
  CheckResult& result;

  const Geometry& geometry() const { return header.geometry; }
};

Task<Result<void>> count_refcount_structures(Check check, const std::vector<uint64_t>& table) {
  const Geometry& geometry = check.geometry();
  Findings& findings = check.result.findings;
  count_range(check.header.refcount_table_offset,
              geometry.offset_of(check.header.refcount_table_clusters), geometry, check.references,
              findings);
  for (uint64_t i = 0; i < table.size(); ++i) {
    const uint64_t block = table[i] & kRefcountOffsetMask;
    if (block == 0) continue;
    const uint64_t cluster = geometry.cluster_of(block);
    if (geometry.offset_in_cluster(block) != 0) {
      findings.corrupt(fmt::format(
          "ERROR refcount block {} is not cluster aligned; refcount table entry corrupted", i));
    } else if (!check.references.add(cluster)) {
      findings.corrupt(fmt::format("ERROR refcount block {} is outside image", i));
    } else if (check.references[cluster] != 1) {
      findings.corrupt(
          fmt::format("ERROR refcount block {} refcount={}", i, check.references[cluster]));
    }
  }
  co_return {};
}

// The stored refcounts of the clusters that one block describes.
struct BlockCounts {
  std::vector<std::byte> block;  // empty: all are zero
  const Geometry& geometry;
  uint64_t operator[](uint64_t index) const {
    return block.empty() ? 0 : get_refcount(block.data(), geometry.refcount_order, index);
  }
};

void compare_block(Check check, const BlockCounts& stored, uint64_t first_cluster) {
  const Geometry& geometry = check.geometry();
  const uint64_t end =
      std::min(check.references.clusters(), first_cluster + geometry.refcounts_per_block());
  for (uint64_t cluster = first_cluster; cluster < end; ++cluster) {
    const uint64_t counted = stored[cluster - first_cluster];
    const uint64_t used = check.references[cluster];
    if (counted != 0) check.result.image_end_offset = geometry.offset_of(cluster + 1);
    if (counted == used) continue;
    if (counted > used) {
      ++check.result.leaks;
      check.result.findings.note(
          fmt::format("Leaked cluster {} refcount={} reference={}", cluster, counted, used));
    } else {
      check.result.findings.corrupt(
          fmt::format("ERROR cluster {} refcount={} reference={}", cluster, counted, used));
    }
  }
}

Task<Result<BlockCounts>> read_block(Check check, const std::vector<uint64_t>& table,
                                     uint64_t index) {
  BlockCounts counts{{}, check.geometry()};
  const uint64_t offset = index < table.size() ? table[index] & kRefcountOffsetMask : 0;
  if (offset == 0 || offset >= kMaxHostBytes) co_return counts;
  counts.block.resize(check.geometry().cluster_bytes());
  const iovec buffer{counts.block.data(), counts.block.size()};
  CO_TRY_VOID(co_await check.file.read_or_zero(offset, {&buffer, 1}));
  co_return counts;
}

Task<Result<void>> compare_refcounts(Check check, const std::vector<uint64_t>& table) {
  const uint64_t per_block = check.geometry().refcounts_per_block();
  for (uint64_t i = 0; i * per_block < check.references.clusters(); ++i) {
    CO_TRY(const BlockCounts counts, co_await read_block(check, table, i));
    compare_block(check, counts, i * per_block);
  }
  co_return {};
}

// COPIED must be set exactly where one reference is all there is; references and refcounts agree
// where this matters, or compare_refcounts() has complained.
void check_copied(Check check, uint64_t entry, uint64_t offset, std::string_view what) {
  const uint64_t cluster = check.geometry().cluster_of(offset);
  if (cluster >= check.references.clusters()) return;
  const uint32_t count = check.references[cluster];
  if (((entry & kCopiedFlag) != 0) != (count == 1))
    check.result.findings.corrupt(
        fmt::format("ERROR OFLAG_COPIED {}: entry={:x} refcount={}", what, entry, count));
}

Task<Result<void>> check_copied_flags(Check check) {
  const Geometry& geometry = check.geometry();
  CO_TRY(const std::vector<uint64_t> l1,
         co_await read_table(check.file, check.header.l1_offset, check.header.l1_entries));
  for (const uint64_t l1_entry : l1) {
    const uint64_t table = l1_entry & kOffsetMask;
    if (table == 0 || geometry.cluster_of(table) >= check.references.clusters()) continue;
    check_copied(check, l1_entry, table, "L2 cluster");
    CO_TRY(const std::vector<uint64_t> l2,
           co_await read_table(check.file, table, geometry.cluster_bytes() / 8));
    for (uint64_t at = 0; at < l2.size(); at += geometry.l2_entry_bytes() / 8) {
      const L2Entry entry{l2[at]};
      if (!entry.compressed() && entry.host_offset() != 0)
        check_copied(check, entry.value, entry.host_offset(), "data cluster");
    }
  }
  co_return {};
}

}  // namespace

Task<Result<CheckResult>> check_image(File& file, const Header& header) {
  const Geometry& geometry = header.geometry;
  CheckResult result;
  result.total_clusters = geometry.clusters_for(header.size_bytes);
  CO_TRY(References references, References::create(geometry.clusters_for(file.size_bytes())));
  CO_TRY_VOID(co_await count_references(file, header, references, result.findings));
  const Check check{file, header, references, result};
  CO_TRY(const std::vector<uint64_t> table,
         co_await read_table(file, header.refcount_table_offset,
                             geometry.offset_of(header.refcount_table_clusters) / 8));
  CO_TRY_VOID(co_await count_refcount_structures(check, table));
  CO_TRY_VOID(co_await compare_refcounts(check, table));
  CO_TRY_VOID(co_await check_copied_flags(check));
  co_return result;
}

}  // namespace hull::blockcore::qcow2
