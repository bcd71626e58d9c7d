// A refcount table that is full moves to a place past all that it describes, with blocks that
// describe the new place; the header then points there, and the old table's clusters are reused.
#include <algorithm>
#include <vector>

#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/qcow2/alloc/refcounts.h"
#include "blockcore/qcow2/format/image_header.h"
#include "blockcore/qcow2/format/refcount_block.h"

namespace hull::blockcore::qcow2 {

Result<Refcounts::Growth> Refcounts::plan_growth() const {
  const uint64_t entries_per_cluster = geometry().cluster_bytes() / sizeof(uint64_t);
  const uint64_t old_entries = table_.size();
  const uint64_t limit = kMaxRefcountTableBytes / geometry().cluster_bytes();
  Growth growth{old_entries << geometry().refcounts_per_block_bits(), 0, 0};
  growth.table_clusters =
      std::min(limit, divide_up(old_entries + old_entries / 2 + 1, entries_per_cluster));
  for (;; ++growth.table_clusters) {
    growth.blocks = 1;
    while (growth.blocks * geometry().refcounts_per_block() < growth.table_clusters + growth.blocks)
      ++growth.blocks;
    if (growth.table_clusters > limit)
      return fail(ErrorKind::kNoSpace, "{}: the refcount table has reached its limit of 8 MiB",
                  file_.path());
    if (growth.table_clusters * entries_per_cluster >= old_entries + growth.blocks) break;
  }
  if (growth.first_cluster + growth.table_clusters + growth.blocks > cluster_limit())
    return no_cluster_left();
  return growth;
}

// Table and blocks, complete, durable, but not referred to.
Task<Result<void>> Refcounts::write_growth(const Growth& growth) {
  std::vector<std::byte> table = table_.encode();
  table.resize(geometry().offset_of(growth.table_clusters));
  const uint64_t first_block = growth.first_cluster + growth.table_clusters;
  for (uint64_t i = 0; i < growth.blocks; ++i) {
    const Be64 entry = geometry().offset_of(first_block + i);
    std::memcpy(table.data() + (table_.size() + i) * sizeof entry, &entry, sizeof entry);
  }
  std::vector<std::byte> blocks(geometry().offset_of(growth.blocks));
  for (uint64_t i = 0; i < growth.table_clusters + growth.blocks; ++i)
    set_refcount(blocks.data(), geometry().refcount_order, i, 1);
  CO_TRY_VOID(co_await write_exactly(file_, geometry().offset_of(growth.first_cluster), table));
  CO_TRY_VOID(co_await write_exactly(file_, geometry().offset_of(first_block), blocks));
  co_return co_await file_.flush();
}

Task<Result<void>> Refcounts::grow_table() {
  CO_TRY(const Growth growth, plan_growth());
  const uint64_t old_entries = table_.size();
  const HostRun old_table{geometry().cluster_of(table_.host_offset()),
                          header_->refcount_table_clusters};
  {
    // A running commit writes into the old table, and the new one refers to blocks that it writes.
    const AsyncMutex::Guard guard = co_await commit_lock_.lock();
    CO_TRY_VOID(co_await write_blocks());
    CO_TRY_VOID(co_await write_growth(growth));
    const uint64_t offset = geometry().offset_of(growth.first_cluster);
    CO_TRY_VOID(co_await header_.set_refcount_table(file_, offset,
                                                    static_cast<uint32_t>(growth.table_clusters)));
    table_.resize(geometry().offset_of(growth.table_clusters) / sizeof(uint64_t));
    const uint64_t first_block = growth.first_cluster + growth.table_clusters;
    for (uint64_t i = 0; i < growth.blocks; ++i)
      table_.set(old_entries + i, geometry().offset_of(first_block + i));
    table_.move(offset);
    fresh_from_ = std::max(fresh_from_, first_block + growth.blocks);
  }
  std::vector<HostRun> runs{old_table};
  (void)co_await release(std::move(runs), true);
  co_return {};
}

}  // namespace hull::blockcore::qcow2
