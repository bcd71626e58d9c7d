// A top-level table (L1, refcount table) that is wholly in memory, knows which 512-byte sectors of
// it differ from the file, hands out copies of those for a commit, and knows what it refers to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <unordered_map>
#include <vector>

#include "blockcore/file/file.h"
#include "blockcore/qcow2/format/format.h"

namespace hull::blockcore::qcow2 {

class HostTable {
 public:
  // Reads `entries` entries at `host_offset`; bytes past the end of the file are zeros.
  Task<Result<void>> read(File& file, uint64_t host_offset, uint64_t entries);

  uint64_t size() const { return entries_.size(); }
  uint64_t operator[](uint64_t index) const { return entries_[index]; }
  uint64_t host_offset() const { return host_offset_; }
  uint64_t bytes() const { return entries_.size() * 8; }
  bool dirty() const { return !dirty_sectors_.empty(); }

  void set(uint64_t index, uint64_t value) {
    if (indexed_) replace_target(entries_[index], value);
    entries_[index] = value;
    dirty_sectors_.insert(index / kEntriesPerSector);
  }

  struct SectorCopy {
    uint64_t sector;
    uint64_t host_offset;
    std::vector<std::byte> bytes;
  };
  // What is dirty now; it counts as clean afterwards. After a failure, mark_dirty() it again.
  std::vector<SectorCopy> copy_dirty();
  void mark_dirty(std::span<const SectorCopy> copies);

  // The whole table in its on-disk form, for a move.
  std::vector<std::byte> encode() const;
  // The table now stands at another place, where it has been written as encode() gave it.
  void move(uint64_t host_offset) { host_offset_ = host_offset, dirty_sectors_.clear(); }
  void resize(uint64_t entries) { entries_.resize(entries), indexed_ = false; }

  // Whether an entry names the cluster at `offset` (not 0). The first call looks at all entries.
  bool refers_to(uint64_t offset) const {
    if (!indexed_) index_targets();
    return targets_.contains(offset);
  }

 private:
  static constexpr uint64_t kEntriesPerSector = 64;
  void index_targets() const;
  void replace_target(uint64_t old_entry, uint64_t new_entry);

  uint64_t host_offset_ = 0;
  std::vector<uint64_t> entries_;
  std::set<uint64_t> dirty_sectors_;
  // Offset → entries that name it.
  mutable std::unordered_map<uint64_t, uint32_t> targets_;
  mutable bool indexed_ = false;
};

Task<Result<void>> write_sectors(File& file, std::span<const HostTable::SectorCopy> copies);

}  // namespace hull::blockcore::qcow2
