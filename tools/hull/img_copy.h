// What convert and dd share: a new (or existing) target, and contents copied into it.
#pragma once

#include "blockcore/engine/worker_pool.h"
#include "blockcore/image/copy.h"
#include "blockcore/image/create.h"
#include "tools/hull/img_open.h"
#include "tools/hull/img_progress.h"

namespace hull::cli {

struct ImgTarget {
  ImgDisk image;
  bool is_zero = false;           // reads as zeros where nothing has been written
  bool is_buffered_file = false;  // a regular file behind the page cache
};

// Makes the image that `create` describes, with a size, and opens it. An export of a server is
// there already, and is as large as it is.
Result<ImgTarget> make_img_target(blockcore::IoEngine& engine, const ImgCommon& common,
                                  blockcore::CreateImageOptions create, blockcore::CacheMode cache);

// An existing image; zeros have to be written to it. `key`: in place of what the name says.
Result<ImgTarget> open_img_target(blockcore::IoEngine& engine, const ImgCommon& common,
                                  const ImgName& name, blockcore::CacheMode cache,
                                  const std::optional<blockcore::ImageKey>& key = {});

// Fills in what follows from the target: target_is_zero, target_unit_bytes, in_order,
// chunks_in_flight unless it is given.
void suit_target(const ImgTarget& target, blockcore::CopyOptions& options);

// Buffered transfers cost processor time in the caller's thread: a pool of threads spreads it.
// O_DIRECT is better served by io_uring.
Result<std::unique_ptr<blockcore::IoEngine>> make_copy_engine(blockcore::CacheMode source,
                                                              blockcore::CacheMode target);

// A thread for each processor that the host grants, for codecs. Outlives the disks that are opened
// with it.
Result<std::unique_ptr<blockcore::WorkerPool>> make_copy_workers(blockcore::IoEngine& engine);

}  // namespace hull::cli
