#include "blockcore/qcow2/edit/trim.h"

#include <algorithm>

namespace hull::blockcore::qcow2 {
namespace {

// The clusters [first, end) of one L2 table.
Task<Result<void>> forget_in_table(Parts& parts, uint64_t first, uint64_t end) {
  ClusterMap& map = parts.image.map;
  for (uint64_t cluster = first; cluster < end;) {
    if (parts.committer.is_due()) CO_TRY_VOID(co_await parts.committer.commit());
    if (!map.is_ready(cluster)) {
      CO_TRY_VOID(co_await map.make_ready(cluster));
      continue;
    }
    // To the end of the slice, which stays in memory until the next co_await.
    const uint64_t slice_end = (cluster | (parts.image.geometry.l2_slice_entries() - 1)) + 1;
    for (const uint64_t stop = std::min(end, slice_end); cluster < stop; ++cluster)
      map.set_entry(cluster, {});
  }
  co_return {};
}

}  // namespace

Task<Result<void>> forget_clusters(Parts& parts, uint64_t first_cluster) {
  ClusterMap& map = parts.image.map;
  const Geometry& geometry = parts.image.geometry;
  const uint64_t first_table = geometry.l1_index(first_cluster + geometry.l2_entries() - 1);
  for (uint64_t i = geometry.l1_index(first_cluster); i < map.l1().size(); ++i) {
    if ((map.l1()[i] & kOffsetMask) == 0) continue;
    const uint64_t begin = i << geometry.l2_entries_bits();
    CO_TRY_VOID(co_await forget_in_table(parts, std::max(begin, first_cluster),
                                         begin + geometry.l2_entries()));
  }
  // The tables are empty, in the file too, before they go.
  CO_TRY_VOID(co_await parts.committer.commit());
  map.drop_tables(first_table);
  co_return co_await parts.committer.commit_all();
}

Task<Result<void>> cut_tail(Parts& parts) {
  File& file = *parts.image.file;
  if (file.is_block_device()) co_return {};
  const Geometry& geometry = parts.image.geometry;
  uint64_t end = geometry.clusters_for(file.size_bytes());
  for (; end != 0; --end) {
    CO_TRY(const uint64_t count, co_await parts.image.refcounts.count(end - 1));
    if (count != 0) break;
  }
  if (geometry.offset_of(end) >= file.size_bytes()) co_return {};
  CO_TRY_VOID(file.cut_to(geometry.offset_of(end)));
  co_return co_await file.flush();
}

}  // namespace hull::blockcore::qcow2
