// Compressed clusters: docs/interop/qcow2, "Compressed Clusters Descriptor". zlib means a raw
// deflate stream (RFC 1951) of any window size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "blockcore/qcow2/format.h"

namespace hull::blockcore::qcow2 {

// Fills `cluster` from the beginning of `stream`; what follows in the stream is ignored. kCorrupt
// if the stream is damaged or gives less.
Result<void> decompress(CompressionType type, std::span<const std::byte> stream,
                        std::span<std::byte> cluster);

// The clusters that were decompressed last, so that a guest that reads one in small pieces pays
// once. Keyed by the L2 entry.
class DecompressedClusters {
 public:
  explicit DecompressedClusters(uint64_t cluster_bytes);

  // nullptr if it is not there; valid until the next insert() or clear().
  const std::byte* find(uint64_t entry);
  void insert(uint64_t entry, std::unique_ptr<std::byte[]> cluster);
  void clear() { kept_.clear(); }

 private:
  struct Kept {
    uint64_t entry;
    std::unique_ptr<std::byte[]> bytes;
  };
  const size_t capacity_;
  std::vector<Kept> kept_;  // the oldest first
};

}  // namespace hull::blockcore::qcow2
