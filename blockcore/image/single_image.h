// One image file without its backing chain, for operations on the image itself: snapshots, bitmaps,
// amend, resize, rebase -u. Opens nothing that the image refers to, but its external data file.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "blockcore/engine/io_engine.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/qcow2_disk.h"

namespace hull::blockcore {

struct SingleImageOptions {
  std::string path;
  std::optional<DiskFormat> format = std::nullopt;  // absent: as the first bytes have it
  CacheMode cache = CacheMode::kWriteback;
  bool read_only = false;
  bool lock = true;
  ImageKey key = {};  // without a secret an encrypted image has no data, only metadata
};

// kUnsupported if the image is raw. Otherwise as Qcow2Disk::open(): for writing, a corrupt image is
// refused and a dirty one has its refcounts rebuilt first. What is not allocated in the image
// itself reads as zeros. Errors name the file. close() the disk, or what was changed may be lost.
Task<Result<std::unique_ptr<Qcow2Disk>>> open_single_qcow2(IoEngine& engine,
                                                           SingleImageOptions options);

}  // namespace hull::blockcore
