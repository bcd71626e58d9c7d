// Work on a whole disk, chunk by chunk, several at a time.
#pragma once

#include <cstdint>

#include "blockcore/async/task.h"
#include "blockcore/progress.h"

namespace hull::blockcore {

class ChunkWork {
 public:
  virtual ~ChunkWork() = default;
  // Several run at the same time, on different chunks.
  virtual Task<Result<void>> run(uint64_t offset, uint64_t length) = 0;
};

// Chunks begin at multiples of this, which is a multiple of every cluster size.
inline constexpr uint64_t kChunkBytes = 2 << 20;
inline constexpr size_t kChunksInFlight = 4;

// After an error no more chunks are begun.
Task<Result<void>> for_each_chunk(uint64_t size_bytes, ChunkWork& work,
                                  const ProgressReport& progress);

}  // namespace hull::blockcore
