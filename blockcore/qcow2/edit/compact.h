// Moves what lies at the end of an image's file into free clusters lower down, so that the file can
// be cut. No operation of the disk may be in flight.
//
// Everything goes the way of a guest's write: the copy is counted and durable before the mapping
// refers to it, and the old place is free only when the mapping no longer does (committer.h). A
// crash leaves the disk as it was, with leaks at most.
#pragma once

#include <cstdint>

#include "blockcore/progress.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore::qcow2 {

// Clusters of the file.
struct CompactCounts {
  uint64_t zeros = 0;  // given back because what they hold reads as zeros
  uint64_t moved = 0;
};

// Clusters of the active mapping that hold nothing but zeros, and zeros with a reserved place,
// become zeros without a place. Only clusters that no snapshot shares, and only where the image can
// say so: not in a version 2 image with a backing file.
Task<Result<void>> drop_zeros(Parts& parts, CompactCounts& counts, const ProgressReport& progress);

// Data, compressed data and L2 tables of the active mapping alone, and the L1 table. What snapshots
// share, and what belongs to snapshots and bitmaps, stays where it is. The refcounts must be exact
// (check.h, repair of leaks).
Task<Result<void>> move_down(Parts& parts, CompactCounts& counts, const ProgressReport& progress);

}  // namespace hull::blockcore::qcow2
