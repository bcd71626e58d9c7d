// Guest ranges in granules (geometry.h), whose mapping some operation is about to change: whole
// clusters that get a new host cluster, or subclusters that get data in the one that they have.
// Whoever else wants to change their mapping waits (Image::claims); readers do not, they see the
// old mapping until the new one is complete.
#pragma once

#include <cstdint>

#include "blockcore/async/range_lock.h"
#include "blockcore/qcow2/format/geometry.h"

namespace hull::blockcore::qcow2 {

using GranuleRange = RangeLock::Range;

inline GranuleRange granules_of(const Geometry& geometry, uint64_t offset, uint64_t length) {
  return {offset >> geometry.granule_bits(), (offset + length - 1) >> geometry.granule_bits()};
}
// All of the clusters that the range touches.
inline GranuleRange granules_of_clusters(const Geometry& geometry, uint64_t offset,
                                         uint64_t length) {
  const uint64_t start = geometry.offset_of(geometry.cluster_of(offset));
  const uint64_t end = geometry.offset_of(geometry.cluster_of(offset + length - 1) + 1);
  return granules_of(geometry, start, end - start);
}

}  // namespace hull::blockcore::qcow2
