// A new image file, for `hull img create` and for overlays that hull makes itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "blockcore/engine/io_engine.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/edit/create.h"

namespace hull::blockcore {

struct CreateImageOptions {
  std::string path;
  DiskFormat format = DiskFormat::kRaw;
  // Absent: that of the backing file.
  std::optional<uint64_t> size_bytes;
  // For qcow2; size_bytes in it is ignored. Of a raw image only `preallocation` counts.
  Qcow2CreateOptions qcow2 = {};
  // The backing file is opened (read-only) to see that it is there and, without size_bytes, how
  // large it is.
  bool open_backing = true;
};

// An existing file is overwritten unless a program uses it (kBusy); a new one has mode 0600 and is
// removed if something fails. Returns the size of the disk in bytes, a multiple of 512.
Task<Result<uint64_t>> create_image(IoEngine& engine, CreateImageOptions options);

}  // namespace hull::blockcore
