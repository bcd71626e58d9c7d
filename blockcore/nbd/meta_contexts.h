// The metadata contexts that come from a disk's own block status.
#pragma once

#include <memory>

#include "blockcore/nbd/export.h"

namespace hull::blockcore::nbd {

// "base:allocation": which ranges are holes, which read as zeros. Both borrow the disk.
std::unique_ptr<MetaContext> make_allocation_context(Disk& disk);
// "qemu:allocation-depth": 0 for what was never written, else 1 for the image itself, 2 for its
// backing file, ….
std::unique_ptr<MetaContext> make_depth_context(Disk& disk);

// Appends an extent, or makes the last one longer where the flags are the same.
void add_extent(std::vector<ExtentDescriptor>& extents, uint32_t length, uint32_t flags);

}  // namespace hull::blockcore::nbd
