// Reads compressed clusters: one by one, as a guest wants them, or many at once on the threads of a
// pool.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "blockcore/qcow2/data/compressed.h"
#include "blockcore/qcow2/data/compressed_batch.h"
#include "blockcore/qcow2/image.h"

namespace hull::blockcore::qcow2 {

class CompressedReader {
 public:
  explicit CompressedReader(Image& image)
      : image_(image), decompressed_(image.geometry.cluster_bytes()) {}

  // `buffers` begin with what `extent` holds at `offset`. Returns how many bytes were read: those
  // of the extent at least.
  Task<Result<uint64_t>> read(uint64_t offset, const Extent& extent,
                              std::span<const iovec> buffers);
  // The streams of the whole clusters that the range begins with, as far as they are compressed and
  // their entries in memory. `offset` is a cluster's first byte.
  Task<Result<CompressedBatch>> load(uint64_t offset, uint64_t length);

  // Compressed clusters were freed: their places may hold something else soon.
  void forget() { decompressed_.clear(); }

 private:
  Task<Result<void>> read_one(uint64_t offset, L2Entry entry, std::span<const iovec> buffers);
  Task<Result<uint64_t>> read_many(uint64_t offset, std::span<const iovec> buffers);
  Result<void> unpack(const CompressedBatch& batch, Decompressor& decompressor,
                      std::span<const iovec> buffers) const;
  Result<CompressedExtent> place_of(uint64_t offset, L2Entry entry) const;
  Decompressor& decompressor(size_t index);
  std::string place_name(uint64_t offset) const;

  Image& image_;
  DecompressedClusters decompressed_;
  std::vector<Decompressor> decompressors_;  // of each thread of the pool; the last is our own
};

}  // namespace hull::blockcore::qcow2
