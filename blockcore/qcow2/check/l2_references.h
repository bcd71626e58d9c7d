// What the entries of L2 tables refer to, and what is wrong with them: the inner part of counting
// references (references.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "blockcore/qcow2/check/references.h"

namespace hull::blockcore::qcow2 {

// One walk over an image: what it follows, and where it puts what it finds.
struct ReferenceWalk {
  File& file;
  const Header& header;
  References& references;
  Findings& findings;
  bool fix;  // entries that are wrong and hold no data are replaced in the file

  const Geometry& geometry() const { return header.geometry; }
  void count(uint64_t offset, uint64_t bytes) const {
    count_range(offset, bytes, geometry(), references, findings);
  }
};

// An L2 table inside the file, and how many L1 entries refer to it.
struct TableUse {
  uint64_t offset;
  uint32_t times;
};

// The tables of the active image, in the guest's order: the findings also say how it is laid out.
Task<Result<void>> count_active_entries(const ReferenceWalk& walk,
                                        std::span<const uint64_t> tables);
// Tables of snapshots, each of them once; what they refer to counts as often as they do.
Task<Result<void>> count_shared_entries(const ReferenceWalk& walk, std::span<const TableUse> uses);

}  // namespace hull::blockcore::qcow2
