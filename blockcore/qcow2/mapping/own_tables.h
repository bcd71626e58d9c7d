// A walk over the guest clusters whose L2 tables only the active mapping has, for operations that
// change the mapping in place and leave alone what snapshots share.
#pragma once

#include <algorithm>
#include <cstdint>

#include "blockcore/progress.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore::qcow2 {

class OwnClusterWork {
 public:
  virtual ~OwnClusterWork() = default;
  // True: there is nothing to do for what follows.
  virtual bool finished() const { return false; }
  // Before the clusters of a table.
  virtual Task<Result<void>> begin_table(uint64_t l1_index);
  // Guest clusters from `cluster` on, of one slice of a table, which is ready; at most `most` (not
  // 0). Returns how many were dealt with, at least one.
  virtual Task<Result<uint64_t>> run(uint64_t cluster, uint64_t most) = 0;
};

// What run() reads or copies at a time.
inline uint64_t own_transfer_bytes(const Geometry& geometry) {
  return std::max<uint64_t>(1 << 20, geometry.cluster_bytes());
}

// How many guest clusters from `cluster` on, at most `most`, are `alike` and lie behind each other
// in the file; the first one is.
template <class Alike>
uint64_t count_row(Image& image, uint64_t cluster, uint64_t most, Alike alike) {
  const uint64_t first = image.map.entry(cluster).host_offset();
  uint64_t row = 1;
  for (; row < most; ++row) {
    const L2Entry next = image.map.entry(cluster + row);
    if (!alike(next) || next.host_offset() != first + image.geometry.offset_of(row)) break;
  }
  return row;
}

// Commits whenever that is due, and at the end.
Task<Result<void>> for_each_own_cluster(Parts& parts, OwnClusterWork& work,
                                        const ProgressReport& progress);

}  // namespace hull::blockcore::qcow2
