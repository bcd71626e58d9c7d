// Writing copies of cached slices to their places.
#pragma once

#include "blockcore/qcow2/mapping/slice_cache.h"

namespace hull::blockcore::qcow2 {

// Sorts the copies by their place and writes neighbours together.
Task<Result<void>> write_slices(File& file, SliceCache::Copies& copies, uint32_t slice_bytes);

}  // namespace hull::blockcore::qcow2
