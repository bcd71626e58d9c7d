// Giving clusters back: references are dropped, and what nobody refers to is free again when the
// host has been told.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "blockcore/qcow2/alloc/refcounts.h"
#include "blockcore/qcow2/format/refcount_block.h"

namespace hull::blockcore::qcow2 {

Task<Result<void>> Refcounts::release(std::vector<HostRun> runs, bool punch) {
  Result<void> result;
  std::vector<HostRun> unreferenced;
  for (const HostRun run : runs)
    if (auto dropped = co_await drop(run, unreferenced); !dropped) result = std::move(dropped);
  for (const HostRun run : unreferenced) {
    if (!punch) break;
    // A hint to the host: if it fails, the space is reused all the same.
    (void)co_await file_.discard(geometry().offset_of(run.first), geometry().offset_of(run.count));
  }
  end_holding(unreferenced);
  co_return result;
}

Task<Result<void>> Refcounts::drop(HostRun run, std::vector<HostRun>& unreferenced) {
  const uint32_t order = geometry().refcount_order;
  const uint64_t mask = geometry().refcounts_per_slice() - 1;
  for (uint64_t cluster = run.first; cluster != run.first + run.count;) {
    Slice* slice = cache_.find(cluster >> geometry().refcounts_per_slice_bits());
    if (slice == nullptr) {
      CO_TRY_VOID(co_await load_slice(cluster));
      continue;
    }
    const uint64_t references = get_refcount(slice->bytes(), order, cluster & mask);
    // More references than counted: the image is corrupt, and the cluster stays what it is.
    if (references == 0 || cluster == 0)
      co_return fail(ErrorKind::kCorrupt,
                     "{}: host cluster at {:#x} has more references than its "
                     "refcount says",
                     file_.path(), geometry().offset_of(cluster));
    set_refcount(slice->bytes(), order, cluster & mask, references - 1);
    cache_.mark_dirty(*slice);
    if (references == 1) {
      if (cluster == geometry().cluster_of(packed_end_)) packed_end_ = 0;
      add_run(unreferenced, {cluster, 1});
      held_.add({cluster, 1});
    }
    ++cluster;
  }
  co_return {};
}

void Refcounts::begin_holding(const std::vector<HostRun>& runs) {
  for (const HostRun run : runs) held_.add(run);
}

void Refcounts::end_holding(const std::vector<HostRun>& runs) {
  for (const HostRun run : runs) {
    held_.remove(run);
    hint_ = std::min(hint_, run.first);
  }
}

Task<Result<void>> Refcounts::drop_reserve() {
  const HostRun unused = std::exchange(reserve_, {});
  if (unused.count == 0) co_return {};
  const uint64_t end = geometry().offset_of(unused.first + unused.count);
  std::vector<HostRun> runs{unused};
  CO_TRY_VOID(co_await release(std::move(runs), false));
  // Nobody has written behind it.
  if (unused.first >= fresh_from_ && file_.size_bytes() == end)
    (void)file_.cut_to(geometry().offset_of(unused.first));
  co_return {};
}

void Refcounts::forget(uint64_t first_freed) {
  CHECK(!dirty());
  cache_.clear();
  hint_ = std::max<uint64_t>(std::min(hint_, first_freed), 1);
  // The cluster may be somebody else's by now.
  packed_end_ = 0;
}

}  // namespace hull::blockcore::qcow2
