// Another size for an image file: `hull img resize`.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "blockcore/engine/io_engine.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/edit/create.h"

namespace hull::blockcore {

struct ResizeImageOptions {
  std::string path;
  std::optional<DiskFormat> format = std::nullopt;  // absent: as the first bytes have it
  CacheMode cache = CacheMode::kWriteback;
  // Is given the size as it is and says what it is to become; an error ends it, with nothing
  // changed.
  std::function<Result<uint64_t>(uint64_t)> new_size = {};
  Preallocation preallocation = Preallocation::kOff;
  ImageKeys keys = {};  // of the image and what is below
};

// The backing files of a qcow2 image that grows are opened (read-only): what they hold past the old
// end must not appear. The new size is durable when it returns; gives it.
Task<Result<uint64_t>> resize_image(IoEngine& engine, ResizeImageOptions options);

}  // namespace hull::blockcore
