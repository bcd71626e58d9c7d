// A disk as the virtio device and the image tools see it, whatever its format.
//
// A Disk and everything behind it belongs to one IoEngine and is used on that engine's thread
// alone; any number of operations may be in flight on it. The order of two operations that overlap
// and are in flight together is undefined, as on hardware; a completed write is visible to later
// reads and durable after the next completed flush().
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <span>
#include <string>

#include "blockcore/async/task.h"
#include "blockcore/block_status.h"

namespace hull::blockcore {

class File;

class Disk {
 public:
  Disk() = default;
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  virtual ~Disk() = default;

  // Bytes a guest sees; constant while the disk is open. Need not be a multiple of 512.
  virtual uint64_t size_bytes() const = 0;
  virtual bool read_only() const = 0;
  // Alignment of offset, length and memory that avoids a bounce buffer; 1 without O_DIRECT.
  virtual uint32_t alignment_bytes() const = 0;
  // Whether discard() can give space back at all, and its best granularity.
  virtual bool can_discard() const = 0;
  virtual uint32_t discard_granularity_bytes() const = 0;

  // `offset` and the iovecs' total lie inside size_bytes() (the caller has checked; else CHECK).
  // The iovecs and the memory behind them stay valid until the task is done. Any alignment is
  // accepted.
  virtual Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers) = 0;
  // On failure any part of the range may have been written and the image stays consistent.
  virtual Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) = 0;
  // Everything completed before is durable. After one failure every later flush fails too: what the
  // kernel dropped cannot be had back by trying again.
  virtual Task<Result<void>> flush() = 0;
  // Reads back as zeros afterwards; `may_unmap` allows giving the space back.
  virtual Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) = 0;
  // Gives space back where that is possible; a hint: reads back as zeros or as before.
  virtual Task<Result<void>> discard(uint64_t offset, uint64_t length) = 0;
  // What the range begins with; `length` is not 0. Looks at metadata and reads no guest data; what
  // is being written at the same time may be reported as it was before or as it will be.
  virtual Task<Result<BlockStatus>> block_status(uint64_t offset, uint64_t length) = 0;
  // As File::copy_from(), into this disk.
  virtual Task<Result<uint64_t>> copy_from(const File& source, uint64_t source_offset,
                                           uint64_t offset, uint64_t length);
  // Operations in flight that wait for somebody else (a server, a thread, a queue of the kernel)
  // end soon, with an error if they were not done; a connection to a server is lost by it, a file
  // goes on being usable. What a file system is in the middle of cannot be hurried: whoever does
  // not want to wait for it leaves the disk, the engine and the memory where they are. On the
  // engine's thread.
  virtual void abandon() {}
  // Flushes, writes back all metadata, clears dirty bits. No operation may be in flight; none may
  // follow. A Disk that is destroyed without close() is left as after a crash: consistent, maybe
  // leaking.
  virtual Task<Result<void>> close() = 0;
};

}  // namespace hull::blockcore
