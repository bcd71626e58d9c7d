// One L2 entry: docs/interop/qcow2, "Standard Cluster Descriptor", "Compressed Clusters
// Descriptor", "Extended L2 Entries".
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "blockcore/qcow2/format/format.h"

namespace hull::blockcore::qcow2 {

enum class ClusterKind : uint8_t {
  kUnallocated,  // reads from the backing file, or zeros
  kZero,         // reads as zeros
  kNormal,
  kCompressed,
  kInvalid,  // contradicts the format
};

inline constexpr uint32_t kAllSubclusters = ~uint32_t{0};

// One bit for each of the subclusters [first, end); end is at most 32.
constexpr uint32_t subcluster_mask(uint32_t first, uint32_t end) {
  const uint64_t below_end = (uint64_t{1} << end) - 1;
  return static_cast<uint32_t>(below_end & ~((uint64_t{1} << first) - 1));
}

// The decoded value as it stands in the table.
struct L2Entry {
  uint64_t value = 0;
  // Of an extended entry; else 0. Low half: the subcluster has data; high half: it reads as zeros.
  uint64_t bitmap = 0;
  // The data is in an external file. There an allocated cluster may begin at offset 0.
  bool external = false;

  bool operator==(const L2Entry&) const = default;

  // Of a standard entry.
  ClusterKind kind() const {
    if (compressed()) return ClusterKind::kCompressed;
    if ((value & kZeroFlag) != 0) return ClusterKind::kZero;
    return has_host() ? ClusterKind::kNormal : ClusterKind::kUnallocated;
  }
  bool compressed() const { return (value & kCompressedFlag) != 0; }
  // Of an entry that is not compressed: whether there is a host cluster, and where.
  bool has_host() const { return host_offset() != 0 || (external && (value & kCopiedFlag) != 0); }
  uint64_t host_offset() const { return value & kOffsetMask; }
  // Nobody else refers to the host cluster: it may be written in place.
  bool writable() const { return (value & kCopiedFlag) != 0 && has_host(); }

  // Of an extended entry.
  uint32_t allocated() const { return static_cast<uint32_t>(bitmap); }
  uint32_t zeros() const { return static_cast<uint32_t>(bitmap >> 32); }
  bool bitmap_is_valid() const {
    if (compressed()) return bitmap == 0;
    return (allocated() & zeros()) == 0 && (allocated() == 0 || has_host());
  }
  static constexpr uint64_t make_bitmap(uint32_t allocated, uint32_t zeros) {
    return uint64_t{zeros} << 32 | allocated;
  }

  // Of a valid extended entry: what subcluster `first` is.
  ClusterKind subcluster_kind(uint32_t first) const {
    if (compressed()) return ClusterKind::kCompressed;
    if ((allocated() >> first & 1) != 0) return ClusterKind::kNormal;
    return (zeros() >> first & 1) != 0 ? ClusterKind::kZero : ClusterKind::kUnallocated;
  }
  // How many from `first` on are of that kind.
  uint32_t subclusters_alike(uint32_t first) const {
    const auto equal_bits = [first](uint32_t bits) {
      const uint32_t rest = bits >> first;
      return static_cast<uint32_t>((rest & 1) != 0 ? std::countr_one(rest)
                                                   : std::countr_zero(rest));
    };
    return std::min({equal_bits(allocated()), equal_bits(zeros()), kSubclusters - first});
  }
};

// Where the data of a compressed cluster lies: not aligned to anything.
struct CompressedExtent {
  uint64_t host_offset;
  uint64_t bytes;  // up to the end of its last 512-byte sector; what is too much is to be ignored
};

constexpr uint32_t compressed_offset_bits(uint32_t cluster_bits) { return 62 - (cluster_bits - 8); }
constexpr uint64_t compressed_offset_mask(uint32_t cluster_bits) {
  return (uint64_t{1} << compressed_offset_bits(cluster_bits)) - 1;
}

inline CompressedExtent compressed_extent(L2Entry entry, uint32_t cluster_bits) {
  const uint32_t offset_bits = compressed_offset_bits(cluster_bits);
  const uint64_t offset = entry.value & compressed_offset_mask(cluster_bits);
  const uint64_t sectors =
      ((entry.value >> offset_bits) & ((uint64_t{1} << (62 - offset_bits)) - 1)) + 1;
  return {offset, sectors * 512 - offset % 512};
}

}  // namespace hull::blockcore::qcow2
