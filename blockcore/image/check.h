// Consistency check and repair of an image file, for `hull img check`.
#pragma once

#include "blockcore/file/local_file.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/check/check.h"

namespace hull::blockcore {

// Opens nothing that the image refers to. Reads only, unless something is to be repaired: then
// `file` is writable and locked. kUnsupported for formats that have nothing to check (raw).
Task<Result<qcow2::CheckResult>> check_image_file(LocalFile& file, DiskFormat format,
                                                  qcow2::Repair repair = qcow2::Repair::kNone);

// That failure.
std::unexpected<Error> no_checks();

}  // namespace hull::blockcore
