// What lies below one image that is open by itself (single_image.h).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "blockcore/engine/io_engine.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/qcow2_disk.h"

namespace hull::blockcore {

// The backing file that the header names; nullopt: none. An error if its format is not named, or is
// not one that hull opens.
Result<std::optional<BackingLevel>> backing_level(const Qcow2Disk& image);

// Opens it read-only with everything below; nullptr: none. `keys`: of the image itself, which is
// passed over, and of what is below.
Task<Result<std::unique_ptr<Disk>>> open_backing(IoEngine& engine, const Qcow2Disk& image,
                                                 CacheMode cache, const ImageKeys& keys);

// As parse_format(), with the path in the error.
Result<DiskFormat> format_of_name(const std::string& path, const std::string& name);

}  // namespace hull::blockcore
