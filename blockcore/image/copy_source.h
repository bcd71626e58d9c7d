// The reading side of a copy: which chunks are to be written, and what they hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "blockcore/async/async_mutex.h"
#include "blockcore/image/copy.h"
#include "blockcore/image/rate_limit.h"

namespace hull::blockcore {

// How far a copy is: tells the caller of it, and keeps to the rate.
class CopyProgress {
 public:
  explicit CopyProgress(const CopyOptions& options)
      : options_(options), rate_(options.bytes_per_second) {}

  // So many bytes more are done, and so many of them were data. Blocks while that is too fast.
  void add(uint64_t bytes, uint64_t moved) {
    done_ += bytes;
    moved_ += moved;
    if (options_.progress) options_.progress(done_);
    rate_.wait_for(moved_);
  }

 private:
  const CopyOptions& options_;
  const RateLimit rate_;
  uint64_t done_ = 0;
  uint64_t moved_ = 0;
};

struct CopyChunk {
  uint64_t number = 0;
  uint64_t position = 0;  // in the source
  uint64_t length = 0;    // 0: there are no more
  bool zero = false;      // otherwise data, which may be zeros all the same
};

// Borrows everything. Several coroutines may ask for chunks and read.
class CopySource {
 public:
  // Zeros, and what the target has from its backing file, count in whole units of the target;
  // chunks of data end at multiples of `chunk_bytes` there. Both are powers of two.
  CopySource(Disk& disk, const CopyOptions& options, uint64_t unit_bytes, uint64_t chunk_bytes,
             CopyProgress& progress)
      : disk_(disk),
        options_(options),
        unit_bytes_(unit_bytes),
        chunk_bytes_(chunk_bytes),
        progress_(progress) {}

  Disk& disk() { return disk_; }
  uint64_t unit_bytes() const { return unit_bytes_; }
  // Of the chunks that come.
  void set_chunk_bytes(uint64_t bytes) { chunk_bytes_ = bytes; }

  // The next chunk that is to be written, in the order of the source. What needs no writing is
  // done.
  Task<Result<CopyChunk>> next();
  // With options.salvage what cannot be read becomes zeros.
  Task<Result<void>> read(uint64_t position, std::span<std::byte> data);

 private:
  enum class Kind : uint8_t { kData, kZero, kNothing };
  Task<Result<void>> look(Kind& kind, uint64_t& kind_end);
  uint64_t chunk_end(uint64_t position) const;
  uint64_t unit_end(uint64_t position) const;

  Disk& disk_;
  const CopyOptions& options_;
  const uint64_t unit_bytes_;
  uint64_t chunk_bytes_;
  CopyProgress& progress_;
  AsyncMutex scanning_;
  uint64_t cursor_ = options_.source_offset;
  uint64_t chunks_ = 0;
};

}  // namespace hull::blockcore
