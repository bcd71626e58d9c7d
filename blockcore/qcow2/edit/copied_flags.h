// COPIED must be set exactly where the refcount is one: docs/interop/qcow2, "L1 table entry",
// "Standard Cluster Descriptor". Of the active image; in snapshots' tables it means nothing.
#pragma once

#include "blockcore/qcow2/check/references.h"

namespace hull::blockcore::qcow2 {

// `counts` holds the refcounts. Wrong flags are findings; with `fix` they are corrected in the
// file.
Task<Result<void>> check_copied_flags(File& file, const Header& header, const References& counts,
                                      Findings& findings, bool fix);

}  // namespace hull::blockcore::qcow2
