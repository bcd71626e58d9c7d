// The partitions of a disk: GPT (UEFI 2.10, chapter 5) and the older table of the PC ("dos").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "blockcore/disk.h"

namespace hull::blockcore {

struct Partition {
  unsigned number = 0;  // from 1; logical ones of a dos table from 5, as everybody counts
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;  // not 0; offset and length lie inside the disk
  std::string type;           // GUID, or "0x83"
  std::string name;           // GPT only
  std::string uuid;           // GPT only
  bool active = false;        // "legacy BIOS bootable" in a GPT
};

struct PartitionTable {
  std::string type;  // "gpt", "dos"
  std::string uuid;  // of a dos table its signature, 8 digits
  std::vector<Partition> partitions;
  // What is wrong with the table, for people. Such entries are left out.
  std::vector<std::string> remarks;
};

inline constexpr size_t kMaxPartitions = 128;

// nullopt: there is none. Reads a few sectors, and at most 128 KiB of entries, however the table
// lies. Errors are those of the disk.
Task<Result<std::optional<PartitionTable>>> read_partition_table(Disk& disk);

}  // namespace hull::blockcore
