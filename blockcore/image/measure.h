// How large a new image would become, without making it: for `hull img measure`.
#pragma once

#include <cstdint>
#include <optional>

#include "blockcore/disk.h"
#include "blockcore/image/create.h"
#include "blockcore/qcow2/qcow2_disk.h"

namespace hull::blockcore {

struct ImageMeasure {
  uint64_t required_bytes = 0;         // of the file after a copy, uncompressed
  uint64_t fully_allocated_bytes = 0;  // once the guest has written everywhere
  std::optional<uint64_t> bitmap_bytes =
      std::nullopt;  // of the source's bitmaps; if it can have any
};

// An empty image of `size_bytes`. kOutOfRange: the format cannot be that large.
Result<ImageMeasure> measure_image(const CreateImageOptions& options, uint64_t size_bytes);

// A copy of `source`; `qcow2` is the image itself if it is one.
Task<Result<ImageMeasure>> measure_copy(CreateImageOptions options, Disk& source, Qcow2Disk* qcow2);

}  // namespace hull::blockcore
