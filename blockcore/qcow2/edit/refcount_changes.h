// Changes of very many reference counts at once (snapshots): the blocks are read as they are
// needed, changed in memory and written in the order of the file: once each, by write(), unless
// they are more than is kept in memory. Then some reach the file before, which must be harmless:
// counts that go up stand for nothing yet, those that go down for what nobody refers to any more.
// The Refcounts of the image must be clean, and forget() afterwards; between two rounds of that,
// restart().
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blockcore/file/file.h"
#include "blockcore/qcow2/alloc/host_run.h"
#include "blockcore/qcow2/format/header.h"
#include "blockcore/qcow2/format/l2_entry.h"
#include "blockcore/qcow2/mapping/host_table.h"

namespace hull::blockcore::qcow2 {

enum class Step : uint8_t { kUp, kDown };

class RefcountChanges {
 public:
  // Of blocks in memory: counts for 8 TiB of clusters of 64 KiB with 16 bits each.
  static constexpr uint64_t kMaxLoadedBytes = 256 << 20;

  // Borrows file, geometry and table. At least one block is kept, whatever `most_bytes` says.
  RefcountChanges(File& file, const Geometry& geometry, const HostTable& table,
                  uint64_t most_bytes = kMaxLoadedBytes)
      : file_(file),
        geometry_(geometry),
        table_(table),
        most_bytes_(most_bytes),
        blocks_(table.size()) {}

  // As it was when it was made, for the table as it is now.
  void restart();

  // kOutOfRange if a count would exceed its width, kCorrupt if a count is zero already.
  Task<Result<void>> change(HostRun run, Step step);
  // The host clusters of the entries of one L2 table.
  Task<Result<void>> change_entries(const std::byte* table, Step step);
  // Sets or clears COPIED in the entries of (a part of) a table by their counts; true if one has
  // changed.
  Task<Result<bool>> correct_copied(std::span<std::byte> table);
  Task<Result<uint64_t>> count(uint64_t cluster);

  // Not durable when it returns.
  Task<Result<void>> write();
  // What has come down to zero, in no order.
  const std::vector<HostRun>& freed() const { return freed_; }
  // The first of them; beyond all clusters if there is none.
  uint64_t first_freed() const { return first_freed_; }

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
  Task<Result<void>> make_room();
  void drop_blocks();
  Result<void> change_one(uint64_t cluster, Step step, Block& block);

  File& file_;
  const Geometry& geometry_;
  const HostTable& table_;
  const uint64_t most_bytes_;
  std::vector<std::unique_ptr<Block>> blocks_;
  uint64_t loaded_bytes_ = 0;
  std::vector<HostRun> freed_;
  uint64_t first_freed_ = ~uint64_t{0};
};

}  // namespace hull::blockcore::qcow2
