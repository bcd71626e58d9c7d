// One chunk of a copy: what its bytes are made of, found out on a thread of the pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blockcore/qcow2/compressor.h"

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

// The clusters of a chunk as streams, in one buffer.
class PackedChunk {
 public:
  void clear();
  // Compresses the clusters of `data`, the last of which may be short; clusters of zeros are left
  // out. `position` is a cluster's first byte.
  void pack(qcow2::Compressor& compressor, std::span<const std::byte> data, uint64_t position,
            uint64_t cluster_bytes);
  const std::vector<qcow2::CompressedCluster>& streams() const { return streams_; }
  // Offsets in the disk of clusters of zeros.
  const std::vector<uint64_t>& zeros() const { return zeros_; }
  // Offsets in the disk of clusters that do not get smaller.
  const std::vector<uint64_t>& incompressible() const { return incompressible_; }

 private:
  std::unique_ptr<std::byte[]> buffer_;
  uint64_t buffer_bytes_ = 0;
  std::vector<qcow2::CompressedCluster> streams_;
  std::vector<uint64_t> zeros_;
  std::vector<uint64_t> incompressible_;
  std::vector<std::byte> last_;  // a short cluster, filled up with zeros
};

}  // namespace hull::blockcore
