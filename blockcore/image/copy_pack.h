// Copying into a compressed image: chunks are compressed on the threads of a pool, and compressed
// clusters of the source are taken as they are where both images have the same kind of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "blockcore/image/copy_chunk.h"
#include "blockcore/image/copy_source.h"

namespace hull::blockcore {

// A stretch of a chunk on its way into a compressed image.
struct PackPiece {
  uint64_t offset;               // in the chunk
  uint64_t length;               // bytes
  qcow2::CompressedBatch batch;  // empty: the data in the workspace is to be compressed
};

// What one of the chunks in flight needs, compressed or not.
struct CopyWorkspace {
  explicit CopyWorkspace(uint64_t bytes);
  std::unique_ptr<std::byte[]> memory;
  std::byte* data;  // aligned for O_DIRECT without a bounce buffer
  std::vector<PackPiece> pieces;
  PackedChunk packed;
};

// With options.compress_into; borrows everything. Each chunk is packed, then written, in a
// workspace of its own.
class ChunkPacker {
 public:
  ChunkPacker(CopySource& source, Disk& target, const CopyOptions& options);

  // Reads what the chunk is made of, and makes streams of it.
  Task<Result<void>> pack(const CopyChunk& chunk, CopyWorkspace& space);
  Task<Result<void>> write(const CopyChunk& chunk, CopyWorkspace& space);

 private:
  Task<Result<void>> read_piece(const CopyChunk& chunk, uint64_t offset, CopyWorkspace& space);
  Task<Result<uint64_t>> plain_length(uint64_t position, uint64_t most);
  Task<bool> pack_pieces(const CopyChunk& chunk, CopyWorkspace& space);

  CopySource& source_;
  Disk& target_;
  const CopyOptions& options_;
  const qcow2::StreamFormat format_;  // of the target
  const uint64_t cluster_bytes_;      // of the target
  const bool takes_streams_;
  std::vector<qcow2::Compressor> compressors_;      // one for each thread
  std::vector<qcow2::Decompressor> decompressors_;  // the same
};

}  // namespace hull::blockcore
