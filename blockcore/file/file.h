// A file or block device as the image formats see it: the seam below every format.
//
// Formats do all their I/O through File, so that tests can stand in for the host:
// tests/support/memory_file.h (no host file, no engine) and tests/support/faulty_file.h (fails the
// Nth operation, records every write and flush for crash replay). LocalFile (local_file.h) is the
// real one. Transfers are whole or failed: short I/O, EINTR, iovec limits and O_DIRECT alignment
// are handled below this interface.
//
// One File belongs to one engine's thread; any number of operations may be in flight; the order of
// two that overlap is undefined. Ranges must not overflow (CHECK). Errors name the file.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <limits>
#include <span>
#include <string>

#include "base/spec.h"
#include "blockcore/async/task.h"
#include "blockcore/engine/iovecs.h"

namespace hull::blockcore {

class IoEngine;

using hull::CacheMode;

// Bytes of a file that are alike.
struct FileRange {
  bool hole = false;    // reads as zeros and occupies nothing
  uint64_t length = 0;  // of a hole that reaches the end of the file: without limit
};

class File {
 public:
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  virtual ~File() = default;  // closes; no operation may be in flight

  // The engine on whose thread it is used; nullptr: all operations complete at once.
  virtual IoEngine* engine() const { return nullptr; }
  virtual const std::string& path() const = 0;  // for messages and for relative backing names
  virtual bool read_only() const = 0;
  // Length now: grows with writes past the end and with extend_to(). Of a block device: constant.
  virtual uint64_t size_bytes() const = 0;
  virtual bool is_block_device() const = 0;
  // What size_bytes() can grow to, as far as that is known beforehand.
  virtual uint64_t max_size_bytes() const {
    return is_block_device() ? size_bytes() : std::numeric_limits<int64_t>::max();
  }
  // Whether space that was never written reads as zeros, as that of a new or longer file does: not
  // what a block device held before, and not what is decrypted. Whoever relies on zeros that he has
  // not written asks.
  virtual bool unwritten_reads_as_zeros() const { return !is_block_device(); }
  // Offset, length and memory of a transfer that needs no bounce buffer: 1, or 512 to 4096 (or
  // more) with O_DIRECT. Any alignment is accepted.
  virtual uint32_t alignment_bytes() const = 0;

  // All of the range; the end of the file inside it is kOutOfRange. For metadata.
  Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers) {
    return transfer_in(offset, buffers, AtEnd::kFail);
  }
  // The same, but what lies past the end of the file reads as zeros. For guest data.
  Task<Result<void>> read_or_zero(uint64_t offset, std::span<const iovec> buffers) {
    return transfer_in(offset, buffers, AtEnd::kZeros);
  }
  // Past the end it extends the file (not a block device: kOutOfRange); a gap reads as zeros.
  virtual Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) = 0;

  // Every operation completed before is durable. A failure is for ever: later calls fail as well.
  virtual Task<Result<void>> flush() = 0;

  // Reads as zeros afterwards, as far as the range lies inside the file; `may_unmap` gives the
  // blocks back. Falls back to writing zeros where the file system or device cannot do better.
  // Past the end it extends the file (zeros), as write() does.
  virtual Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) = 0;
  // Gives blocks back: reads as zeros or as before. A hint: succeeds where that is not supported.
  // Never changes the size.
  virtual Task<Result<void>> discard(uint64_t offset, uint64_t length) = 0;
  // Reserves blocks, extends the file if need be; the new part reads as zeros. kUnsupported where
  // the file system cannot.
  virtual Task<Result<void>> allocate(uint64_t offset, uint64_t length) = 0;
  // Copies what a file of the same engine holds at `source_offset` without bringing it into memory;
  // the file system may let both files share the blocks. Returns how many bytes were copied: less
  // than `length` at the source's end or before a place that cannot be copied like this, for
  // read() and write() to tell why. kUnsupported: not between these two files. As write()
  // otherwise.
  virtual Task<Result<uint64_t>> copy_from(const File& source, uint64_t source_offset,
                                           uint64_t offset, uint64_t length);
  // At least that long afterwards: what is new reads as zeros, and a file that is longer keeps all
  // it has, also what somebody else has made it longer by. Blocks for a moment: no system call
  // inside io_uring does it. A block device that is shorter: kOutOfRange.
  virtual Result<void> extend_to(uint64_t size_bytes) = 0;
  // At most that long afterwards: what lies behind is lost. Blocks as extend_to(). A block device
  // that is longer: kUnsupported.
  virtual Result<void> cut_to(uint64_t size_bytes) = 0;
  // What begins at `offset`; past the end all is hole. Blocks for a moment, as extend_to(). Where
  // holes cannot be seen, everything inside the file is data.
  virtual Result<FileRange> range_at(uint64_t offset) const;
  // As Disk::abandon(): operations in flight that have not begun end with an error.
  virtual void abandon() {}
  // For copy_from(): a descriptor of the host behind the page cache, or -1; a borrow.
  virtual int copy_source_fd() const { return -1; }

 protected:
  enum class AtEnd : uint8_t { kFail, kZeros };
  virtual Task<Result<void>> transfer_in(uint64_t offset, std::span<const iovec> buffers,
                                         AtEnd at_end) = 0;
};

// Metadata in one buffer, which stays valid until the task is done.
Task<Result<void>> read_exactly(File& file, uint64_t offset, std::span<std::byte> data);
Task<Result<void>> write_exactly(File& file, uint64_t offset, std::span<const std::byte> data);

}  // namespace hull::blockcore
