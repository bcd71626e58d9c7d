// How often each host cluster of a file is referred to. A byte for a cluster in a row that is used
// at all, four where one of the row has many users, nothing for other rows: a file may be as long
// as refcounts can describe, and costs memory for what is in it alone.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/mapping.h"
#include "base/result.h"

namespace hull::blockcore::qcow2 {

class ReferenceCounts {
 public:
  // For clusters 0 to `clusters` - 1, all of them without users. kHost: no address space.
  static Result<ReferenceCounts> create(uint64_t clusters);

  uint64_t clusters() const { return clusters_; }
  uint32_t operator[](uint64_t cluster) const {
    const uint32_t row = rows()[cluster >> kRowBits];
    if (row == 0) return cluster < unknown_end_ ? 1 : 0;
    const uint64_t at = cluster & (kRowClusters - 1);
    return is_wide(row) ? wide(row)[at] : *cell_of(row, at);
  }
  void set(uint64_t cluster, uint32_t count);
  // Saturates at 2^32 - 1.
  void add(uint64_t cluster, uint32_t times = 1);

  // The first cluster from `from` on that has users; `end` if none before it has (at most
  // clusters()).
  uint64_t next_counted(uint64_t from, uint64_t end) const;
  // One past the last cluster that has users.
  uint64_t end_of_counted() const;
  // Each cluster before `end` that has no user gets one: it is not known who that is.
  void count_unknown(uint64_t end);

  // There was no memory left for some count (kMaxBytes): what the others say is worth nothing.
  bool exhausted() const { return exhausted_; }
  static constexpr uint64_t kMaxBytes = uint64_t{4} << 30;

 private:
  static constexpr uint32_t kRowBits = 8;
  static constexpr uint64_t kRowClusters = uint64_t{1} << kRowBits;
  static constexpr uint32_t kMostInByte = 255;
  static constexpr uint32_t kWideCells = sizeof(uint32_t);
  static constexpr uint32_t kBlockCells = 4096;

  ReferenceCounts(Mapping rows, uint64_t clusters) : rows_(std::move(rows)), clusters_(clusters) {}

  // A row: 0, or the number of its first cell plus 1, times 2, plus 1 if it is wide.
  uint32_t* rows() const { return reinterpret_cast<uint32_t*>(rows_.data()); }
  static bool is_wide(uint32_t row) { return (row & 1) != 0; }
  uint8_t* cell_of(uint32_t row, uint64_t at) const {
    const uint32_t cell = (row >> 1) - 1;
    return blocks_[cell / kBlockCells].get() + cell % kBlockCells * kRowClusters + at;
  }
  uint32_t* wide(uint32_t row) const { return reinterpret_cast<uint32_t*>(cell_of(row, 0)); }
  uint32_t take_cells(uint32_t count);
  bool begin_row(uint64_t cluster);
  bool widen(uint32_t& row);
  uint32_t at_row(uint32_t row, uint64_t at) const {
    return is_wide(row) ? wide(row)[at] : *cell_of(row, at);
  }

  Mapping rows_;
  uint64_t clusters_;
  std::vector<std::unique_ptr<uint8_t[]>> blocks_;  // of cells
  std::vector<uint32_t> free_;                      // cells that were widened
  uint32_t used_cells_ = 0;                         // of all blocks
  uint64_t unknown_end_ = 0;
  bool exhausted_ = false;
};

}  // namespace hull::blockcore::qcow2
