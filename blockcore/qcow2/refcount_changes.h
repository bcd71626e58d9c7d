// Changes of very many reference counts at once (snapshots): the blocks are read as they are
// needed, changed in memory and written once each, in the order of the file. Nothing reaches the
// file before write(). The Refcounts of the image must be clean, and forget() afterwards.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "blockcore/file.h"
#include "blockcore/qcow2/header.h"
#include "blockcore/qcow2/host_run.h"
#include "blockcore/qcow2/host_table.h"
#include "blockcore/qcow2/l2_entry.h"

namespace hull::blockcore::qcow2 {

enum class Step : uint8_t { kUp, kDown };

class RefcountChanges {
 public:
  // Borrows all three.
  RefcountChanges(File& file, const Geometry& geometry, const HostTable& table)
      : file_(file), geometry_(geometry), table_(table), blocks_(table.size()) {}

  // kOutOfRange if a count would exceed its width, kCorrupt if a count is zero already.
  Task<Result<void>> change(HostRun run, Step step);
  // The host clusters of the entries of one L2 table.
  Task<Result<void>> change_entries(const std::byte* table, Step step);
  // Sets or clears COPIED in the entries of a table by their counts; true if one has changed.
  Task<Result<bool>> correct_copied(std::byte* table);
  Task<Result<uint64_t>> count(uint64_t cluster);

  // Durable when it returns.
  Task<Result<void>> write();
  // What has come down to zero, in no order.
  const std::vector<HostRun>& freed() const { return freed_; }

 private:
  struct Block {
    uint64_t host_offset = 0;
    std::unique_ptr<std::byte[]> bytes;
    bool dirty = false;
  };

  HostRun clusters_of(L2Entry entry) const;
  Block* loaded(uint64_t cluster) const {
    return blocks_[cluster >> geometry_.refcounts_per_block_bits()].get();
  }
  Task<Result<void>> load(uint64_t cluster);
  Result<void> change_one(uint64_t cluster, Step step, Block& block);

  File& file_;
  const Geometry& geometry_;
  const HostTable& table_;
  std::vector<std::unique_ptr<Block>> blocks_;
  uint64_t loaded_bytes_ = 0;
  std::vector<HostRun> freed_;
};

}  // namespace hull::blockcore::qcow2
