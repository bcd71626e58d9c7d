// Consistency check of an image file, for `hull img check`. Reads only.
#pragma once

#include "blockcore/local_file.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/check.h"

namespace hull::blockcore {

// kUnsupported for formats that have nothing to check (raw).
Task<Result<qcow2::CheckResult>> check_image_file(LocalFile& file, DiskFormat format);

}  // namespace hull::blockcore
