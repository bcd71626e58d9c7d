// Compressed clusters that are read together: their streams lie in one buffer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "blockcore/qcow2/format/format.h"

namespace hull::blockcore::qcow2 {

struct CompressedBatch {
  struct Cluster {
    uint64_t offset;  // guest: of the cluster's first byte
    uint64_t at;      // of the stream, in `bytes`
    uint64_t length;  // of the stream at most
  };

  std::span<const std::byte> stream(const Cluster& cluster) const {
    return {bytes.get() + cluster.at, cluster.length};
  }

  std::vector<Cluster> clusters;  // one behind the other; none: there are none
  std::unique_ptr<std::byte[]> bytes;
};

// What streams have in common that one image can take from another as they are.
struct StreamFormat {
  uint32_t cluster_bits;
  CompressionType type;
  bool operator==(const StreamFormat&) const = default;
};

}  // namespace hull::blockcore::qcow2
