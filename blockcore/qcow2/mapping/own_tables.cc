#include "blockcore/qcow2/mapping/own_tables.h"

#include <algorithm>

namespace hull::blockcore::qcow2 {
namespace {

bool is_own_table(uint64_t l1_entry) {
  return (l1_entry & kCopiedFlag) != 0 && (l1_entry & kOffsetMask) != 0;
}

Task<Result<void>> walk_table(Parts& parts, uint64_t l1_index, OwnClusterWork& work) {
  Image& image = parts.image;
  const Geometry& geometry = image.geometry;
  const uint64_t end = std::min((l1_index + 1) << geometry.l2_entries_bits(),
                                geometry.clusters_for(image.size_bytes()));
  for (uint64_t cluster = l1_index << geometry.l2_entries_bits(); cluster < end;) {
    if (parts.committer.is_due()) CO_TRY_VOID(co_await parts.committer.commit());
    if (!image.map.is_ready(cluster)) {
      CO_TRY_VOID(co_await image.map.make_ready(cluster));
      continue;
    }
    const uint64_t slice_end = (cluster | (geometry.l2_slice_entries() - 1)) + 1;
    CO_TRY(const uint64_t done, co_await work.run(cluster, std::min(end, slice_end) - cluster));
    cluster += done;
  }
  co_return {};
}

}  // namespace

Task<Result<void>> OwnClusterWork::begin_table(uint64_t) { co_return {}; }

Task<Result<void>> for_each_own_cluster(Parts& parts, OwnClusterWork& work,
                                        const ProgressReport& progress) {
  Image& image = parts.image;
  for (uint64_t i = 0; !work.finished() && i < image.map.l1().size(); ++i) {
    if (progress) progress(i, image.map.l1().size());
    if (!is_own_table(image.map.l1()[i])) continue;
    CO_TRY_VOID(co_await work.begin_table(i));
    CO_TRY_VOID(co_await walk_table(parts, i, work));
  }
  co_return co_await parts.committer.commit_all();
}

}  // namespace hull::blockcore::qcow2
