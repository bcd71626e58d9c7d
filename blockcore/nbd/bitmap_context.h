// "qemu:dirty-bitmap:NAME": which ranges of the disk a persistent dirty bitmap calls dirty.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "blockcore/nbd/export.h"

namespace hull::blockcore::nbd {

struct DirtyBitmap {
  std::string name;
  std::vector<std::byte> bits;  // the first is the lowest of the first byte; all of the disk
  uint32_t granularity_bits;    // a bit stands for 1 << this many bytes
};

// The bitmap as it is now: it does not follow what is written.
std::unique_ptr<MetaContext> make_bitmap_context(DirtyBitmap bitmap);

}  // namespace hull::blockcore::nbd
