// Disk::block_status of a qcow2 image: what the L2 tables say, and below unallocated clusters what
// the backing disk says.
#pragma once

#include "blockcore/block_status.h"
#include "blockcore/qcow2/image.h"

namespace hull::blockcore::qcow2 {

Task<Result<BlockStatus>> block_status(Image& image, uint64_t offset, uint64_t length);

}  // namespace hull::blockcore::qcow2
