// One standard L2 entry: docs/interop/qcow2, "Standard Cluster Descriptor", "Compressed Clusters
// Descriptor".
#pragma once

#include <cstdint>

#include "blockcore/qcow2/format.h"

namespace hull::blockcore::qcow2 {

enum class ClusterKind : uint8_t {
  kUnallocated,  // reads from the backing file, or zeros
  kZero,         // reads as zeros; may have a host cluster all the same
  kNormal,
  kCompressed,
  kInvalid,  // contradicts the format
};

// The decoded value as it stands in the table.
struct L2Entry {
  uint64_t value = 0;

  ClusterKind kind() const {
    if ((value & kCompressedFlag) != 0) return ClusterKind::kCompressed;
    if ((value & kZeroFlag) != 0) return ClusterKind::kZero;
    return (value & kOffsetMask) != 0 ? ClusterKind::kNormal : ClusterKind::kUnallocated;
  }
  // Of kNormal and kZero; 0 if there is no host cluster.
  uint64_t host_offset() const { return value & kOffsetMask; }
  // Nobody else refers to the host cluster: it may be written in place.
  bool writable() const { return (value & kCopiedFlag) != 0 && host_offset() != 0; }
};

// Where the data of a compressed cluster lies: not aligned to anything.
struct CompressedExtent {
  uint64_t host_offset;
  uint64_t bytes;  // up to the end of its last 512-byte sector; what is too much is to be ignored
};

inline CompressedExtent compressed_extent(L2Entry entry, uint32_t cluster_bits) {
  const uint32_t offset_bits = 62 - (cluster_bits - 8);
  const uint64_t offset = entry.value & ((uint64_t{1} << offset_bits) - 1);
  const uint64_t sectors =
      ((entry.value >> offset_bits) & ((uint64_t{1} << (62 - offset_bits)) - 1)) + 1;
  return {offset, sectors * 512 - offset % 512};
}

}  // namespace hull::blockcore::qcow2
