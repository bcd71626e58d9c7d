// Copies of an image's persistent bitmaps, for `hull img convert --bitmaps`.
#pragma once

#include <functional>
#include <string>

#include "blockcore/qcow2/qcow2_disk.h"

namespace hull::blockcore {

// An inconsistent bitmap in an image is left out, and `skipped` is called with its name, or is an
// error if that is empty.
using SkippedBitmap = std::function<void(const std::string& name)>;

// Whether copy_bitmaps() could do it: kUnsupported if the image cannot have bitmaps.
Task<Result<void>> check_bitmaps(Qcow2Disk& source, const SkippedBitmap& skipped);

// After the contents, and before the target is closed; the target is as large as the source or
// larger, and has no bitmaps of the same names. Nothing else may be in flight.
Task<Result<void>> copy_bitmaps(Qcow2Disk& source, Qcow2Disk& target, SkippedBitmap skipped);

}  // namespace hull::blockcore
