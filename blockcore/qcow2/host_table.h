// A top-level table (L1, refcount table) that is wholly in memory, knows which 512-byte sectors of
// it differ from the file, and hands out copies of those for a commit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <vector>

#include "blockcore/file.h"

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
  void resize(uint64_t entries) { entries_.resize(entries); }

 private:
  static constexpr uint64_t kEntriesPerSector = 64;

  uint64_t host_offset_ = 0;
  std::vector<uint64_t> entries_;
  std::set<uint64_t> dirty_sectors_;
};

Task<Result<void>> write_sectors(File& file, std::span<const HostTable::SectorCopy> copies);

}  // namespace hull::blockcore::qcow2
