// How a guest cluster gets an L2 table that may be changed: a new one, or a copy of one that
// snapshots share. Neither is referred to in the file before a commit has written its content.
#include <vector>

#include "base/check.h"
#include "base/endian.h"
#include "blockcore/qcow2/alloc/refcounts.h"
#include "blockcore/qcow2/mapping/cluster_map.h"

namespace hull::blockcore::qcow2 {

Task<Result<void>> ClusterMap::make_ready(uint64_t cluster) {
  const uint64_t l1_index = geometry_.l1_index(cluster);
  if ((l1_[l1_index] & kCopiedFlag) == 0 || (l1_[l1_index] & kOffsetMask) == 0) {
    const AsyncMutex::Guard guard = co_await changing_tables_.lock();
    if ((l1_[l1_index] & kOffsetMask) == 0) {
      CO_TRY_VOID(co_await add_table(cluster));
    } else if ((l1_[l1_index] & kCopiedFlag) == 0) {
      CO_TRY_VOID(co_await copy_table(l1_index));
    }
  }
  if (cache_.find(slice_key(cluster)) == nullptr)
    CO_TRY_VOID(co_await load(geometry_.offset_of(cluster)));
  co_return {};
}

Task<Result<void>> ClusterMap::add_table(uint64_t cluster) {
  CO_TRY(const Refcounts::Allocation allocation, co_await refcounts_.allocate(1));
  const uint64_t offset = geometry_.offset_of(allocation.run.first);
  if (!allocation.fresh) {
    auto zeroed = co_await file_.write_zeroes(offset, geometry_.cluster_bytes(), false);
    if (!zeroed) {
      std::vector<HostRun> unused{allocation.run};
      (void)co_await refcounts_.release(std::move(unused), false);
      co_return std::move(zeroed);
    }
  }
  l1_.set(geometry_.l1_index(cluster), offset | kCopiedFlag);
  // Dirty: written with the first commit, whether or not somebody puts an entry there.
  cache_.mark_dirty(cache_.insert_zeros(slice_key(cluster)));
  co_return {};
}

Task<Result<void>> ClusterMap::copy_table(uint64_t l1_index) {
  CO_TRY(const Refcounts::Allocation allocation, co_await refcounts_.allocate(1));
  co_return co_await copy_table_to(l1_index, allocation.run);
}

Task<Result<bool>> ClusterMap::move_table(uint64_t l1_index, uint64_t limit) {
  const AsyncMutex::Guard guard = co_await changing_tables_.lock();
  CHECK((l1_[l1_index] & kCopiedFlag) != 0);
  CO_TRY(const Refcounts::Allocation allocation, co_await refcounts_.allocate(1));
  if (allocation.run.first >= limit) {
    std::vector<HostRun> unused{allocation.run};
    (void)co_await refcounts_.release(std::move(unused), false);
    co_return false;
  }
  CO_TRY_VOID(co_await copy_table_to(l1_index, allocation.run));
  co_return true;
}

// Slices of the old table that are cached are now those of the copy: what they say about sharing is
// the same. Those that are dirty are written to the copy by the next commit, before the L1 table.
Task<Result<void>> ClusterMap::copy_table_to(uint64_t l1_index, HostRun place) {
  const auto old_offset = table_offset(l1_index);
  const uint64_t new_offset = geometry_.offset_of(place.first);
  Result<void> copied;
  if (old_offset)
    copied = co_await write_copy(*old_offset, new_offset);
  else
    copied = std::unexpected(old_offset.error());
  if (!copied) {
    std::vector<HostRun> unused{place};
    (void)co_await refcounts_.release(std::move(unused), false);
    co_return std::move(copied);
  }
  l1_.set(l1_index, new_offset | kCopiedFlag);
  add_run(unlinked_, {geometry_.cluster_of(*old_offset), 1});
  co_return {};
}

Task<Result<void>> ClusterMap::write_copy(uint64_t old_offset, uint64_t new_offset) {
  std::vector<std::byte> table(geometry_.cluster_bytes());
  const iovec buffer{table.data(), table.size()};
  CO_TRY_VOID(co_await file_.read_or_zero(old_offset, {&buffer, 1}));
  co_return co_await file_.write(new_offset, {&buffer, 1});
}

}  // namespace hull::blockcore::qcow2
