// What a disk holds, as far as its first bytes and those of its partitions tell: for people who
// want to know which image this is. Nothing is mounted, nothing is opened besides the disk.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "blockcore/contents/partition_table.h"
#include "blockcore/contents/superblocks.h"
#include "blockcore/disk.h"

namespace hull::blockcore {

struct DiskContents {
  std::optional<PartitionTable> table;
  // Of the partitions, in their order; nullopt: nothing that is known.
  std::vector<std::optional<FileSystem>> file_systems;
  std::optional<FileSystem> whole;  // on the disk itself; an ISO image may have a table as well
};

// Reads at most kSuperblockBytes of the disk and of each partition. A partition that cannot be read
// is a remark of the table; errors are those of the disk's own first bytes and of its table.
Task<Result<DiskContents>> read_contents(Disk& disk);

}  // namespace hull::blockcore
