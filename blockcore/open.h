// The factory of disks: the only file that names the formats.
//
// The format of an image comes from the caller, that of a backing file from the caller or from the
// header above it; nothing is ever guessed from contents. Backing files are opened read-only. All
// files of a chain share one cache mode, and are locked as QEMU locks them (image_lock.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/limits.h"
#include "base/spec.h"
#include "blockcore/disk.h"
#include "blockcore/engine/io_engine.h"
#include "blockcore/file/file.h"
#include "blockcore/image_key.h"
#include "blockcore/snapshot_choice.h"

namespace hull::blockcore {

class Qcow2Disk;
class WorkerPool;

using hull::DetectZeroes;
using hull::DiskFormat;

struct BackingLevel {
  std::string path;
  DiskFormat format = DiskFormat::kRaw;
  ImageKey key = {};  // of an encrypted qcow2 image
};

struct OpenOptions {
  std::string path;  // a regular file or block device, or an NBD URL (nbd/url.h; raw only)
  DiskFormat format = DiskFormat::kRaw;
  // Absent: the chain that the headers name. Present (even empty): exactly these files, nearest
  // first; what the headers say is ignored.
  std::optional<std::vector<BackingLevel>> backing = std::nullopt;
  CacheMode cache = CacheMode::kWriteback;
  bool read_only = false;
  bool shareable = false;  // other processes may write to the image at the same time (raw only)
  // Writes go to an overlay that is gone when the disk closes or the process dies; every file of
  // the chain is opened read-only. If one of them is encrypted so is the overlay, with a key that
  // nobody knows.
  bool transient = false;
  bool unmap = false;  // discard and write_zeroes(may_unmap) give space back; else they do not
  DetectZeroes detect_zeroes = DetectZeroes::kOff;
  bool lock = true;
  // Of the encrypted qcow2 images: the one at `path`, and those below it in a chain that the
  // headers name.
  ImageKeys keys = {};
  // Encrypted images may be opened without their secrets: then reads and writes of data fail.
  bool metadata_only = false;
  // Of each qcow2 image of the chain: memory for L2 tables, allocated as it is used.
  uint64_t l2_cache_bytes = kDefaultMetadataCacheBytes;
  // Of the image at `path`, if it is qcow2: what it was at that snapshot; read-only.
  std::optional<SnapshotChoice> snapshot = std::nullopt;
  // Where large reads of compressed clusters compute; outlives the disk. Absent: the engine's
  // thread.
  WorkerPool* workers = nullptr;
};

// Longest chain, the image itself included. Each level costs a descriptor and, as it is used,
// a metadata cache.
inline constexpr size_t kMaxChainLength = 256;

// Errors name the file. The disk borrows `engine`; it is not used before the first operation, so
// the disk may be opened on one thread (run_until_done) and used on the engine's.
Task<Result<std::unique_ptr<Disk>>> open_disk(IoEngine& engine, OpenOptions options);

// The same, and the top image itself if it is qcow2 (not with `transient`): for tools that do more
// than a guest can.
struct OpenedImage {
  std::unique_ptr<Disk> disk;
  Qcow2Disk* qcow2 = nullptr;  // part of `disk`
};
Task<Result<OpenedImage>> open_image(IoEngine& engine, OpenOptions options);

}  // namespace hull::blockcore
