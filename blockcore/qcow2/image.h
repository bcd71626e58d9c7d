// One open qcow2 image: everything that its operations share. One thread.
#pragma once

#include <algorithm>
#include <memory>

#include "blockcore/async/async_mutex.h"
#include "blockcore/async/gate.h"
#include "blockcore/disk.h"
#include "blockcore/file/file.h"
#include "blockcore/qcow2/alloc/overlap.h"
#include "blockcore/qcow2/alloc/refcounts.h"
#include "blockcore/qcow2/format/encryption.h"
#include "blockcore/qcow2/format/image_header.h"
#include "blockcore/qcow2/frozen_tables.h"
#include "blockcore/qcow2/mapping/cluster_map.h"
#include "blockcore/qcow2/mapping/granules.h"

namespace hull::blockcore {

class Qcow2Disk;
class WorkerPool;

namespace qcow2 {

struct CacheSizes {
  // 8 MiB of L2 tables map 64 GiB in clusters of 64 KiB. Allocated as it is used.
  uint64_t l2_bytes = 8 << 20;
  uint64_t refcount_bytes = 1 << 20;
};

struct Image {
  Image(std::unique_ptr<File> image_file, ImageHeader image_header, const CacheSizes& caches)
      : file(std::move(image_file)),
        header(std::move(image_header)),
        geometry(header->geometry),
        guard(*file, header),
        refcounts(*file, header, guard, in_use, commit_lock, caches.refcount_bytes),
        map(*file, *header, refcounts, in_use, caches.l2_bytes) {
    guard.attach(map.l1(), refcounts.table());
  }

  uint64_t size_bytes() const { return header->size_bytes; }
  // Where unallocated clusters begin to read as zeros.
  uint64_t backing_bytes() const {
    return backing == nullptr ? 0 : std::min(backing->size_bytes(), size_bytes());
  }

  // Where guest data that is not compressed lies.
  File& data() const {
    if (encrypted != nullptr) return *encrypted;
    return data_file == nullptr ? *file : *data_file;
  }
  // Everything written before is durable.
  Task<Result<void>> flush_all() const {
    if (data_file != nullptr) CO_TRY_VOID(co_await data_file->flush());
    co_return co_await file->flush();
  }

  const std::unique_ptr<File> file;
  std::unique_ptr<File> data_file;  // of an image that has one
  ImageHeader header;
  const Geometry geometry;
  InUse in_use;
  AsyncMutex commit_lock;
  Gate gate;
  FrozenTables frozen;
  OverlapGuard guard;
  Refcounts refcounts;
  ClusterMap map;
  RangeLock claims;  // of granules (granules.h)
  std::unique_ptr<Disk> backing;
  Qcow2Disk* backing_image = nullptr;        // the same, if it is a qcow2 image
  std::unique_ptr<EncryptedFile> encrypted;  // of an image that is
  WorkerPool* workers = nullptr;  // where many compressed clusters are decompressed at once
};

// image.map.load() for an operation that will change the mapping: an L1 entry that cannot be true
// marks the image corrupt.
inline Task<Result<void>> load_for_change(Image& image, uint64_t offset) {
  auto loaded = co_await image.map.load(offset);
  if (!loaded && loaded.error().kind() == ErrorKind::kCorrupt)
    co_return std::unexpected(co_await image.guard.mark_corrupt(std::move(loaded).error()));
  co_return std::move(loaded);
}

}  // namespace qcow2
}  // namespace hull::blockcore
