// Clusters in a row for a table. A row may reach into ranges that no refcount block describes yet;
// the blocks for them are put right behind it.
#include <algorithm>

#include "base/check.h"
#include "blockcore/qcow2/alloc/refcounts.h"
#include "blockcore/qcow2/format/refcount_block.h"

namespace hull::blockcore::qcow2 {

struct Refcounts::Row {
  uint64_t first;
  uint64_t count;
  uint64_t first_block = 0;  // the first of those that are missing, which are in a row as well
  uint64_t blocks = 0;

  uint64_t end() const { return first + count + blocks; }
};

bool Refcounts::is_described(uint64_t block) const {
  return block < table_.size() && table_[block] != 0;
}

// How many blocks the row needs, which themselves need to be described.
void Refcounts::complete(Row& row) const {
  const uint32_t bits = geometry().refcounts_per_block_bits();
  for (;;) {
    uint64_t missing = 0;
    for (uint64_t block = row.first >> bits; block <= (row.end() - 1) >> bits; ++block) {
      if (is_described(block)) continue;
      if (missing++ == 0) row.first_block = block;
    }
    if (missing == row.blocks) return;
    row.blocks = missing;
  }
}

// Goes on from `from`, which is free or used, to the end of the slice or of the row.
uint64_t Refcounts::skip_used(const Slice& slice, uint64_t from, uint64_t& row_first) const {
  const uint64_t mask = geometry().refcounts_per_slice() - 1;
  const uint64_t end = (from | mask) + 1;
  for (; from < end; ++from)
    if (get_refcount(slice.bytes(), geometry().refcount_order, from & mask) != 0 ||
        held_.contains(from))
      row_first = from + 1;
  return end;
}

Task<Result<Refcounts::Row>> Refcounts::find_row(uint64_t count) {
  const uint32_t bits = geometry().refcounts_per_block_bits();
  Row row{.first = hint_, .count = count};
  for (uint64_t next = row.first;;) {
    row.blocks = 0;
    complete(row);
    if (row.end() > cluster_limit()) co_return no_cluster_left();
    if (next >= row.end()) break;
    if (!is_described(next >> bits)) {
      next = ((next >> bits) + 1) << bits;
    } else if (const Slice* slice = cache_.find(next >> geometry().refcounts_per_slice_bits())) {
      next = skip_used(*slice, next, row.first);
    } else {
      CO_TRY_VOID(co_await load_slice(next));
    }
  }
  co_return row;
}

// All zeros in all of their slices, so that a commit writes them whole; the counts follow.
Result<void> Refcounts::add_row_blocks(const Row& row) {
  if (row.blocks == 0) return {};
  if (row.first_block == 0)
    return fail(ErrorKind::kCorrupt, "{}: refcount table entry 0 is empty", file_.path());
  uint64_t at = row.first + row.count;
  for (uint64_t block = row.first_block; at < row.end(); ++block) {
    if (is_described(block)) continue;
    const uint64_t first_key = block << (geometry().cluster_bits - geometry().slice_bits());
    for (uint64_t key = first_key; key < first_key + geometry().slices_per_cluster(); ++key)
      cache_.mark_dirty(cache_.insert_zeros(key));
    table_.set(block, geometry().offset_of(at++));
  }
  return {};
}

Task<Result<void>> Refcounts::count_row(const Row& row) {
  const uint64_t mask = geometry().refcounts_per_slice() - 1;
  for (uint64_t cluster = row.first; cluster < row.end();) {
    Slice* slice = cache_.find(cluster >> geometry().refcounts_per_slice_bits());
    if (slice == nullptr) {
      CO_TRY_VOID(co_await load_slice(cluster));
      continue;
    }
    set_refcount(slice->bytes(), geometry().refcount_order, cluster & mask, 1);
    cache_.mark_dirty(*slice);
    ++cluster;
  }
  co_return {};
}

Task<Result<HostRun>> Refcounts::allocate_row(uint64_t count) {
  CHECK(count != 0);
  const AsyncMutex::Guard guard = co_await allocating_.lock();
  for (;;) {
    CO_TRY(const Row row, co_await find_row(count));
    if (((row.end() - 1) >> geometry().refcounts_per_block_bits()) >= table_.size()) {
      CO_TRY_VOID(co_await grow_table());
      continue;
    }
    CO_TRY_VOID(extend_to(row.end()));
    CO_TRY_VOID(add_row_blocks(row));
    CO_TRY_VOID(co_await count_row(row));
    fresh_from_ = std::max(fresh_from_, row.end());
    if (row.first == hint_) hint_ = row.end();
    co_return HostRun{row.first, count};
  }
}

}  // namespace hull::blockcore::qcow2
