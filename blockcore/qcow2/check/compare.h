// The refcounts that stand in the file against the references that were counted: one part of a
// check.
#pragma once

#include <cstdint>
#include <vector>

#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/check/references.h"
#include "blockcore/qcow2/mapping/table_walk.h"

namespace hull::blockcore::qcow2 {

// What the refcount table says, checked.
struct RefcountBlocks {
  std::vector<uint64_t> numbers;  // of the blocks that can be read
  std::vector<uint64_t> offsets;  // of those
  bool broken = false;            // the structures must be written anew
};

// Counts the table and its blocks. After it `references` is complete.
Task<Result<RefcountBlocks>> count_refcount_structures(File& file, const Header& header,
                                                       References& references, Findings& findings);

enum class CompareMode : uint8_t {
  kLook,      // as a repair begins
  kConclude,  // leaves the refcounts in `references`
  kRepair,    // the same, after having corrected them in the file
  kKeep,      // raises `references` to the refcounts
};

// True: a cluster is used and its count is zero, so that it may have been given away a second time.
// `repair`: whether counts may be raised, too. The differences are findings and leaks of `result`,
// which also gets the end of what is in use; not with kKeep.
Task<Result<bool>> compare_refcounts(File& file, const Geometry& geometry,
                                     const RefcountBlocks& blocks, References& references,
                                     CheckResult& result, CompareMode mode, Repair repair);

}  // namespace hull::blockcore::qcow2
