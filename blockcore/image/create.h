// A new image file, for `hull img create` and for overlays that hull makes itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "blockcore/engine/io_engine.h"
#include "blockcore/image/chain_files.h"
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
  // Durable when create_image() returns; else when somebody flushes what he writes there.
  bool durable = true;
  bool nocow = false;  // asks the file system (btrfs) not to copy on write; a hint
  // Files that are read while the image is made: neither the image nor its data file may be one of
  // them (kInvalidConfig). The backing chain is known without that.
  std::vector<ChainFile> keep_off = {};
};

// An existing file is overwritten unless a program uses it (kBusy); a new one has the mode that the
// umask or the directory's default ACL leaves of 0666, and is removed if something fails. The
// backing file may be in use: its contents are not read. Returns the size of the disk in bytes, a
// multiple of 512.
Task<Result<uint64_t>> create_image(IoEngine& engine, CreateImageOptions options);

}  // namespace hull::blockcore
