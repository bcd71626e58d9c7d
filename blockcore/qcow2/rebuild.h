// New refcount structures, for images whose own cannot be trusted.
#pragma once

#include "blockcore/qcow2/image_header.h"
#include "blockcore/qcow2/references.h"

namespace hull::blockcore::qcow2 {

// Writes a refcount table and blocks that count `references` and themselves behind everything in
// the file, then makes the header point at them: a crash before that has changed nothing. The old
// structures are counted no more. kCorrupt if a count is too large for the image.
Task<Result<void>> write_new_refcounts(File& file, ImageHeader& header,
                                       const References& references, bool clear_dirty);

// The same with counts of another width (docs/interop/qcow2, refcount_order), for a version 3
// image. kCorrupt if it has errors; leaks end. The width and the places change with one write.
// Whoever has the image open opens it again.
Task<Result<void>> change_refcount_width(File& file, ImageHeader& header, uint32_t refcount_order);

}  // namespace hull::blockcore::qcow2
