// A qcow2 image as a Disk: versions 2 and 3, any cluster size and refcount width, compressed and
// zero clusters, internal snapshots (kept, never written to), a backing disk of any format.
//
// Metadata is changed in memory and written in a safe order when the guest flushes, when the cache
// is full and at close() (committer.h). A crash at any moment leaves an image that opens, maybe
// with leaked clusters. docs/interop/qcow2 of QEMU is the specification.
#pragma once

#include <memory>
#include <optional>

#include "blockcore/disk.h"
#include "blockcore/file/file.h"
#include "blockcore/image_key.h"
#include "blockcore/qcow2/data/compressor.h"
#include "blockcore/qcow2/format/header.h"
#include "blockcore/snapshot_choice.h"

namespace hull::blockcore {

class WorkerPool;

namespace qcow2 {
class BitmapTracker;
struct CompressedBatch;
struct Parts;
struct StreamFormat;
}  // namespace qcow2

struct Qcow2Options {
  bool read_only = false;
  uint64_t l2_cache_bytes = 8 << 20;  // maps 64 GiB in clusters of 64 KiB
  uint64_t refcount_cache_bytes = 1 << 20;
  // What opens an encrypted image; it is wiped as soon as nobody holds it any more.
  std::shared_ptr<const Secret> secret = nullptr;
  DiskEncryption encryption = DiskEncryption::kAny;  // else kInvalidConfig if it is another
  // An encrypted image may be opened without its secret: then reads and writes of data fail.
  bool metadata_only = false;
  // set_data_file() will follow if header().has_data_file(). Else such an image is kUnsupported.
  bool allow_data_file = false;
  // What it was at that snapshot; read-only.
  std::optional<SnapshotChoice> snapshot = std::nullopt;
  // Where large reads of compressed clusters compute; outlives the disk. Absent: the engine's
  // thread.
  WorkerPool* workers = nullptr;
};

class Qcow2Disk final : public Disk {
 public:
  // Errors name the file. For writing: kCorrupt if the image is marked corrupt; a dirty image has
  // its refcounts rebuilt first.
  static Task<Result<std::unique_ptr<Qcow2Disk>>> open(std::unique_ptr<File> file,
                                                       Qcow2Options options);
  ~Qcow2Disk() override;

  // The header as it was read; backing_name and backing_format say what set_backing() is to be
  // given.
  const qcow2::Header& header() const;
  const File& file() const;
  // For operations on the image itself (qcow2/parts.h), while no other is in flight; requests may
  // be in flight where the operation's header says so (qcow2/snapshots.h).
  qcow2::Parts& parts();
  // Before the first operation: the file that header().data_file_name() names, which the caller has
  // opened because the user named the image.
  void set_data_file(std::unique_ptr<File> data_file);
  // Before the first operation. Without it unallocated clusters read as zeros.
  void set_backing(std::unique_ptr<Disk> backing);

  uint64_t size_bytes() const override;
  bool read_only() const override { return read_only_; }
  uint32_t alignment_bytes() const override;
  bool can_discard() const override { return !read_only_; }
  uint32_t discard_granularity_bytes() const override;

  Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> flush() override;
  Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
  Task<Result<void>> discard(uint64_t offset, uint64_t length) override;
  Task<Result<BlockStatus>> block_status(uint64_t offset, uint64_t length) override;
  void abandon() override;
  Task<Result<void>> close() override;

  // The streams of the whole clusters that [offset, offset + length) begins with, as they are
  // stored here or in a backing image; none if what is stored there is not of that format, or not
  // compressed. `offset` is a cluster's first byte.
  Task<Result<qcow2::CompressedBatch>> load_compressed(uint64_t offset, uint64_t length,
                                                       const qcow2::StreamFormat& format);
  // Whole clusters, ascending, as streams that Compressor or another image has made in this image's
  // format; the last cluster of the disk is filled up with zeros. One call after the other makes
  // the same image every time.
  Task<Result<void>> write_compressed(std::span<const qcow2::CompressedCluster> clusters);

  // For streaming (image/stream.h), while requests are in flight, which wait meanwhile. The range,
  // as far as the disk goes, is in the image's own clusters afterwards, or reads as zeros.
  Task<Result<void>> pull(uint64_t offset, uint64_t length);
  // kUnsupported if the image has internal snapshots, which read from the backing file as well.
  Result<void> check_forgettable_backing() const;
  // Nothing is read from the backing disk any more: it is closed, and the header, durably, names
  // none. Fails as check_forgettable_backing().
  Task<Result<void>> forget_backing();

 private:
  Qcow2Disk(std::unique_ptr<qcow2::Parts> parts, bool read_only);
  bool may_begin(uint64_t offset, uint64_t length, bool changes) const;
  Task<Result<void>> wait_to_begin(uint64_t offset, uint64_t length, bool changes);
  Task<Result<void>> prepare_change();
  Task<Result<void>> start_changing();
  Task<Result<void>> pull_extent(uint64_t offset, uint64_t length);
  bool needs_preparation() const;

  const std::unique_ptr<qcow2::Parts> parts_;
  const std::unique_ptr<qcow2::BitmapTracker> bitmaps_;
  const bool read_only_;
  bool changing_ = false;  // the image says that it is being changed
};

}  // namespace hull::blockcore
