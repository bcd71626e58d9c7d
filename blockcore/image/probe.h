// Which format an image seems to have: this is the only place that looks, for tools whose user did
// not say; a disk is never opened by what this says alone.
#pragma once

#include "blockcore/file/file.h"
#include "blockcore/open.h"

namespace hull::blockcore {

// As the first bytes have it (of a dmg the last ones). kUnsupported, naming the format, for one
// that hull knows and cannot open: taken for raw, its container would be the disk.
Task<Result<DiskFormat>> probe_format(File& file);

}  // namespace hull::blockcore
