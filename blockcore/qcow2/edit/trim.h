// Giving back what an image no longer needs. No operation of the disk may be in flight.
#pragma once

#include <cstdint>

#include "blockcore/qcow2/parts.h"

namespace hull::blockcore::qcow2 {

// Guest clusters from `first_cluster` on become unallocated, and L2 tables that map nothing else go
// away. Snapshots keep what they have. Durable when it returns; a crash leaves some of the clusters
// as they were.
Task<Result<void>> forget_clusters(Parts& parts, uint64_t first_cluster);

// Cuts off the file behind the last cluster that is in use; nothing may be dirty. Not for block
// devices, which stay as they are.
Task<Result<void>> cut_tail(Parts& parts);

}  // namespace hull::blockcore::qcow2
