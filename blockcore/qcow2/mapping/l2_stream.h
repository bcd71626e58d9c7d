// All L2 tables of one L1 table, a few MiB at a time and in the order of the file: for operations
// that look at every entry. docs/interop/qcow2, "Cluster mapping".
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blockcore/file/file.h"
#include "blockcore/qcow2/format/geometry.h"

namespace hull::blockcore::qcow2 {

class L2Stream {
 public:
  struct Table {
    uint64_t host_offset;
    std::byte* bytes;  // a cluster of them
    bool dirty;        // set by the user: write_dirty() writes it
  };

  // `l1`: decoded entries; empty ones are skipped.
  L2Stream(File& file, const Geometry& geometry, std::span<const uint64_t> l1);

  // The next tables; none: that was all. Valid until the next call. kCorrupt if an L1 entry is no
  // cluster's offset.
  Task<Result<std::span<Table>>> next();
  // Those of the last next(); not durable yet.
  Task<Result<void>> write_dirty();

 private:
  Task<Result<void>> transfer(std::span<Table> row, bool is_write);
  Task<Result<void>> transfer_rows(bool is_write);

  File& file_;
  const Geometry& geometry_;
  std::vector<uint64_t> offsets_;
  size_t at_ = 0;
  std::unique_ptr<std::byte[]> memory_;
  std::vector<Table> tables_;
};

}  // namespace hull::blockcore::qcow2
