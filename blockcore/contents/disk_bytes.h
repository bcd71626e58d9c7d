// Pieces of a disk of which nobody knows how large it is.
#pragma once

#include <cstddef>
#include <vector>

#include "blockcore/disk.h"

namespace hull::blockcore {

// At most `limit` bytes from `offset` on: fewer at the end of the disk, none behind it.
Task<Result<std::vector<std::byte>>> read_at_most(Disk& disk, uint64_t offset, uint64_t limit);

}  // namespace hull::blockcore
