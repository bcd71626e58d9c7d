// Another size for the disk of an open image. No operation of the disk may be in flight.
//
// Growing: a longer L1 table is written elsewhere and the header switched; what would show through
// (the rest of the last cluster, a backing file that is longer than the disk was) is zeroed; only
// then the header says the new size. Shrinking: clusters past the new end go first. A crash leaves
// the old size or the new one. An external data file becomes as long as the disk.
#pragma once

#include <cstdint>

#include "blockcore/qcow2/edit/create.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore::qcow2 {

struct ResizeOptions {
  uint64_t size_bytes = 0;
  // Of what is added; kOff when shrinking.
  Preallocation preallocation = Preallocation::kOff;
};

// kUnsupported: a version 2 image with snapshots, or an image with persistent bitmaps. kOutOfRange:
// the L1 table would be too large.
Task<Result<void>> resize(Parts& parts, ResizeOptions options);

// Copies the L1 table to the first place that has room for `entries`, no fewer than it has, and
// frees the old one. The map has to be reloaded.
Task<Result<void>> move_l1(Parts& parts, uint32_t entries);

}  // namespace hull::blockcore::qcow2
