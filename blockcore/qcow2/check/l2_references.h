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

  const Geometry& geometry() const { return header.geometry; }
  bool count(uint64_t offset, uint64_t bytes) const {
    return count_range(offset, bytes, geometry(), references, findings);
  }
};

// The tables of the active image, in the guest's order: the findings also say how it is laid out.
Task<Result<void>> count_active_entries(const ReferenceWalk& walk,
                                        std::span<const uint64_t> tables);
// Tables of snapshots, each of them once; what they refer to counts as often as they do.
Task<Result<void>> count_shared_entries(const ReferenceWalk& walk,
                                        std::span<const StructureUse> uses);

// What a repair puts in the place of an entry that points at an impossible place and holds no data:
// it reads the same. nullopt: not such an entry.
std::optional<L2Entry> without_place(L2Entry entry, const Header& header);

// Puts that into the `tables` (offsets) whose clusters are known to be theirs alone; returns how
// many entries that were.
Task<Result<uint64_t>> replace_entries(File& file, const Header& header,
                                       std::span<const uint64_t> tables, Findings& findings);

}  // namespace hull::blockcore::qcow2
