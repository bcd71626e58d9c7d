// What an image says about itself, for `hull img info`. Reads the header and the snapshot table of
// one file and opens nothing that it refers to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "blockcore/crypto/luks.h"
#include "blockcore/file/local_file.h"
#include "blockcore/image/probe.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/format/bitmap_directory.h"
#include "blockcore/qcow2/format/header.h"
#include "blockcore/qcow2/format/snapshot_table.h"

namespace hull::blockcore {

struct ImageInfo {
  std::string path;
  DiskFormat format = DiskFormat::kRaw;
  uint64_t size_bytes = 0;               // of the guest's disk
  std::optional<uint64_t> actual_bytes;  // that the file occupies on the host, if that is known
  // Of a qcow2 image.
  std::optional<qcow2::Header> header;
  std::optional<crypto::LuksHeader> luks;  // absent also if hull does not have its cipher or hash
  std::vector<qcow2::Snapshot> snapshots;
  std::vector<qcow2::Bitmap> bitmaps;
  // Where the backing file should be; absent if there is none, or if its name is not a path.
  std::optional<std::string> backing_path;
};

Task<Result<ImageInfo>> read_image_info(LocalFile& file, DiskFormat format);

}  // namespace hull::blockcore
