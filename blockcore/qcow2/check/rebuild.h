// New refcount structures, for images whose own cannot be trusted.
#pragma once

#include "blockcore/qcow2/check/references.h"
#include "blockcore/qcow2/format/image_header.h"

namespace hull::blockcore::qcow2 {

// Writes a refcount table and blocks that count `references` and themselves behind everything in
// the file, then makes the header point at them and otherwise what `changed` says, with one write:
// a crash before that has changed nothing. The old structures are counted no more. kCorrupt if a
// count is too large for the image.
Task<Result<void>> write_new_refcounts(File& file, ImageHeader& header,
                                       const References& references, Header changed);

// Writes the snapshot table anew where an entry says less than version 3 demands, behind everything
// else and with refcounts that count it: one write of the header brings both. kCorrupt if the image
// has errors.
Task<Result<void>> complete_snapshots(File& file, ImageHeader& header);

// The same with counts of another width (docs/interop/qcow2, refcount_order), for a version 3
// image. kCorrupt if it has errors; leaks end. The width and the places change with one write.
// Whoever has the image open opens it again.
Task<Result<void>> change_refcount_width(File& file, ImageHeader& header, uint32_t refcount_order);

// Shortens the file as far as what lies in it allows: new refcount structures, as small as they can
// be, go into the first free clusters, if the old ones are in the way; then what is behind the last
// cluster in use is cut off, and free clusters before it are given back to the host. Returns how
// many those are. kCorrupt if the image has errors. Whoever has the image open opens it again.
Task<Result<uint64_t>> pack_refcounts(File& file, ImageHeader& header);

}  // namespace hull::blockcore::qcow2
