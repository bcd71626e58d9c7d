// COPIED must be set exactly where the refcount is one: docs/interop/qcow2, "L1 table entry",
// "Standard Cluster Descriptor". Of the active image; in snapshots' tables it means nothing.
#pragma once

#include "blockcore/qcow2/check/references.h"

namespace hull::blockcore::qcow2 {

// The tables of the active image whose clusters are theirs alone: into others nothing is written.
struct SoleTables {
  bool l1 = false;
  std::vector<uint64_t> l2;  // offsets, sorted

  // As they have just been counted.
  SoleTables(const Header& header, const References& references)
      : l1(references.is_sole_l1(header.l1_offset, header.geometry)),
        l2(references.sole_l2_tables(header.geometry)) {}
};

// `counts` holds the refcounts; of places outside the file nothing is known. Wrong flags are
// findings; those in `fix` are corrected in the file (nullptr: none).
Task<Result<void>> check_copied_flags(File& file, const Header& header, const References& counts,
                                      Findings& findings, const SoleTables* fix);

}  // namespace hull::blockcore::qcow2
