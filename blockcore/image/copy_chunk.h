// One chunk of a copy: what its bytes are made of, found out on a thread of the pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blockcore/qcow2/data/compressed.h"
#include "blockcore/qcow2/data/compressed_batch.h"
#include "blockcore/qcow2/data/compressor.h"

namespace hull::blockcore {

// A stretch of a chunk that is alike.
struct ChunkPart {
  uint64_t offset;  // in the chunk
  uint64_t length;
  bool zero;
};

// Splits `data` into zeros and data. Zeros count in whole units of `unit` bytes (a power of two)
// counted from `position`, the place of the first byte in the disk.
std::vector<ChunkPart> split_zeros(std::span<const std::byte> data, uint64_t position,
                                   uint64_t unit);

// The clusters of a chunk as streams.
class PackedChunk {
 public:
  // Empties it, with room for the streams of so many bytes of data, in whole clusters.
  // `keep_zeros`: clusters of zeros are data like others, else they are left out.
  void clear(uint64_t data_bytes, bool keep_zeros);
  // Compresses the clusters of `data`, the last of which may be short. `position` is a cluster's
  // first byte.
  void pack(qcow2::Compressor& compressor, std::span<const std::byte> data, uint64_t position,
            uint64_t cluster_bytes);
  // Takes streams as they are, without copying them, after a look at what they hold; what follows
  // a stream is cut off. False: one of them cannot be taken.
  bool take(qcow2::Decompressor& decompressor, const qcow2::CompressedBatch& batch,
            uint64_t position, uint64_t cluster_bytes);
  const std::vector<qcow2::CompressedCluster>& streams() const { return streams_; }
  // Offsets in the disk of clusters of zeros.
  const std::vector<uint64_t>& zeros() const { return zeros_; }
  // Offsets in the disk of clusters that do not get smaller.
  const std::vector<uint64_t>& incompressible() const { return incompressible_; }

 private:
  std::unique_ptr<std::byte[]> buffer_;
  uint64_t buffer_bytes_ = 0;
  uint64_t used_ = 0;
  bool keep_zeros_ = false;
  std::vector<qcow2::CompressedCluster> streams_;
  std::vector<uint64_t> zeros_;
  std::vector<uint64_t> incompressible_;
  std::vector<std::byte> cluster_;  // a short one, filled up with zeros; or one that is looked at
};

}  // namespace hull::blockcore
