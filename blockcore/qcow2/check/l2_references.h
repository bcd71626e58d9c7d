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

enum class TablesOf : uint8_t {
  kActive,     // its tables in the guest's order: the findings also say how it is laid out
  kSnapshots,  // in any order
};

// L2 tables, each of them once, however many L1 entries name it: an image of a few MiB could
// otherwise have a check read a table for every eight of its bytes. What a table refers to counts
// as often as the table does.
Task<Result<void>> count_entries(const ReferenceWalk& walk, TablesOf whose,
                                 std::span<const StructureUse> uses);

// What a repair puts in the place of an entry that points at an impossible place and holds no data:
// it reads the same. nullopt: not such an entry.
std::optional<L2Entry> without_place(L2Entry entry, const Header& header);

// Puts that into the `tables` (offsets) whose clusters are known to be theirs alone; returns how
// many entries that were.
Task<Result<uint64_t>> replace_entries(File& file, const Header& header,
                                       std::span<const uint64_t> tables, Findings& findings);

}  // namespace hull::blockcore::qcow2
