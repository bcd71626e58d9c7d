// Copies the contents of one disk into another, for `hull img convert` and `dd`.
//
// Several chunks are on their way at once: they are read ahead, looked at and compressed on a few
// threads, and written in their order wherever the order decides what the target looks like, so
// that the same source gives the same image every time. Memory is bounded by kCopyMemoryBytes.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>

#include "blockcore/disk.h"
#include "blockcore/qcow2/qcow2_disk.h"

namespace hull::blockcore {

class WorkerPool;

inline constexpr uint64_t kCopyMemoryBytes = 32 << 20;

struct CopyOptions {
  uint64_t source_offset = 0;
  uint64_t target_offset = 0;
  uint64_t length = 0;  // inside both disks
  uint64_t source_end() const { return source_offset + length; }
  // Where a byte of the source goes.
  uint64_t to_target(uint64_t position) const { return position - source_offset + target_offset; }
  // The target reads as zeros where nothing is written: zeros need no writing.
  bool target_is_zero = false;
  // What layers of the source at this depth or below hold, the target has from its backing file.
  uint32_t shared_depth = std::numeric_limits<uint32_t>::max();
  // Zeros of this many bytes in a row, aligned, are not written as data; 0: everything is data, and
  // nothing is asked about the source.
  uint64_t sparse_bytes = 4096;
  // Whether data is looked at, too.
  bool look_for_zeros = true;
  // The smallest unit in which the target keeps zeros.
  uint64_t target_unit_bytes = 4096;
  Qcow2Disk* compress_into = nullptr;  // the same disk as the target: with -c
  // The same disk as the source: with `compress_into` its compressed clusters are copied as they
  // are where both images have clusters of one size and one compression type.
  Qcow2Disk* streams_from = nullptr;
  WorkerPool* workers = nullptr;  // with `compress_into`: where it computes
  // Data that lies in a file as it is, the kernel copies (Disk::copy_from), as long as it can; not
  // with `compress_into`. It is not looked at.
  bool offload = false;
  bool in_order = false;          // also plain data
  unsigned chunks_in_flight = 0;  // at least 1
  bool salvage = false;           // what cannot be read becomes zeros
  uint64_t bytes_per_second = 0;  // of data; 0: no limit
  // After each chunk: how much of `length` is done.
  std::function<void(uint64_t done)> progress = {};
  // With `salvage`: the places that could not be read.
  std::function<void(uint64_t offset, const Error& error)> unreadable = {};
};

// The error says which side failed. The caller flushes and closes the target.
Task<Result<void>> copy_disk(Disk& source, Disk& target, CopyOptions options);

}  // namespace hull::blockcore
