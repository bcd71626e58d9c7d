// Opening the images that a verb works on.
#pragma once

#include <memory>

#include "blockcore/disk.h"
#include "blockcore/engine/io_engine.h"
#include "blockcore/qcow2/qcow2_disk.h"
#include "tools/hull/img_options.h"

namespace hull::cli {

struct ImgDisk {
  std::string path;
  blockcore::DiskFormat format = blockcore::DiskFormat::kRaw;
  std::unique_ptr<blockcore::Disk> disk;
  blockcore::Qcow2Disk* qcow2 = nullptr;  // the image itself, if it is one; part of `disk`
};

struct ImgOpen {
  blockcore::CacheMode cache = blockcore::CacheMode::kWriteback;  // unless the name says another
  bool writable = false;
  bool backing = true;  // false: the image alone; what it does not have reads as zeros
  // To read from: also a raw image that somebody writes, which has nothing to be inconsistent but
  // the guest's own data. What qemu-img does but for convert, compare and bench.
  bool shares_raw = false;
  std::optional<blockcore::SnapshotChoice> snapshot = std::nullopt;  // qcow2, to read from
  std::optional<blockcore::ImageKey> key = std::nullopt;  // of the image, in place of the name's
  blockcore::WorkerPool* workers = nullptr;               // OpenOptions::workers
};

// The format of an image whose format the user has not given is what its first bytes say: for
// reading only, and only for the image that the user has named. To write, the format must be given
// unless the image is qcow2. The formats of backing files always come from the headers.
Result<ImgDisk> open_img(blockcore::IoEngine& engine, const ImgCommon& common, const ImgName& name,
                         const ImgOpen& how);

// What helps who only wants to look at an image that is in use: an error that says so.
Error with_force_share(const Error& error);

}  // namespace hull::cli
