#include "blockcore/contents/contents.h"

#include <fmt/core.h>

#include <algorithm>

#include "blockcore/contents/disk_bytes.h"

namespace hull::blockcore {

Task<Result<std::vector<std::byte>>> read_at_most(Disk& disk, uint64_t offset, uint64_t limit) {
  const uint64_t size = disk.size_bytes();
  std::vector<std::byte> bytes(offset < size ? std::min(limit, size - offset) : 0);
  if (bytes.empty()) co_return bytes;
  const iovec buffer{bytes.data(), bytes.size()};
  CO_TRY_VOID(co_await disk.read(offset, {&buffer, 1}));
  co_return bytes;
}

Task<Result<DiskContents>> read_contents(Disk& disk) {
  DiskContents contents;
  CO_TRY(const std::vector<std::byte> start, co_await read_at_most(disk, 0, kSuperblockBytes));
  contents.whole = find_file_system(start);
  CO_TRY(contents.table, co_await read_partition_table(disk));
  if (!contents.table) co_return contents;
  for (const Partition& partition : contents.table->partitions) {
    auto bytes = co_await read_at_most(
        disk, partition.offset_bytes, std::min<uint64_t>(partition.length_bytes, kSuperblockBytes));
    contents.file_systems.push_back(bytes ? find_file_system(*bytes) : std::nullopt);
    if (!bytes)
      contents.table->remarks.push_back(fmt::format("partition {} cannot be read: {}",
                                                    partition.number, bytes.error().message()));
  }
  co_return contents;
}

}  // namespace hull::blockcore
