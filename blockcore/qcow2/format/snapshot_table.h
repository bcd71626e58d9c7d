// The directory of internal snapshots: docs/interop/qcow2, "Snapshots".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/file/file.h"
#include "blockcore/qcow2/format/header.h"
#include "blockcore/snapshot_choice.h"

namespace hull::blockcore::qcow2 {

struct Snapshot {
  uint64_t l1_offset = 0;
  uint32_t l1_entries = 0;
  std::string id = {};
  std::string name = {};
  uint32_t date_seconds = 0;
  uint32_t date_nanoseconds = 0;
  uint64_t vm_clock_nanoseconds = 0;
  uint64_t vm_state_bytes = 0;
  uint64_t disk_bytes = 0;  // of the header where the entry does not say
  std::optional<uint64_t> instruction_count = std::nullopt;
  std::vector<std::byte> unknown_extra = {};  // kept as it is
  bool incomplete = false;                    // as read: says less than version 3 demands
  std::string damage = {};  // as read: why its L1 table cannot be where it says; else empty
};

struct SnapshotTable {
  std::vector<Snapshot> snapshots;
  uint64_t bytes = 0;    // in the file
  std::string cut = {};  // why nothing behind `snapshots` can be read; empty: there is no more
};

// In the file: kOutOfRange if there are too many, or more bytes than the format allows.
Result<std::vector<std::byte>> encode_snapshot_table(const std::vector<Snapshot>& snapshots);

// Every field is checked, and what is wrong named by the snapshot's index: nobody who does not need
// that snapshot is kept from anything. Errors are those of the file alone.
Task<Result<SnapshotTable>> read_snapshot_table(File& file, const Header& header);
// The same for whoever writes the table anew: kCorrupt if it is cut.
Task<Result<SnapshotTable>> read_whole_snapshot_table(File& file, const Header& header);

// Where it is in the list; of several the first.
std::optional<size_t> find_snapshot_by_id(const std::vector<Snapshot>& all, std::string_view id);
std::optional<size_t> find_snapshot_by_name(const std::vector<Snapshot>& all,
                                            std::string_view name);

// kInvalidConfig if there is none; kCorrupt if its disk cannot be.
Task<Result<Snapshot>> find_snapshot(File& file, const Header& header,
                                     const SnapshotChoice& choice);

}  // namespace hull::blockcore::qcow2
