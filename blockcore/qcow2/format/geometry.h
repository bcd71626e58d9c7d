// Sizes that follow from cluster_bits, refcount_order and the kind of L2 entries, and the index
// arithmetic of the two two-level tables. Pure; every value is a number of what its name says.
#pragma once

#include <algorithm>
#include <cstdint>

#include "blockcore/qcow2/format/format.h"

namespace hull::blockcore::qcow2 {

struct Geometry {
  uint32_t cluster_bits = 16;
  uint32_t refcount_order = 4;
  bool extended_l2 = false;

  constexpr uint64_t cluster_bytes() const { return uint64_t{1} << cluster_bits; }
  constexpr uint64_t offset_in_cluster(uint64_t offset) const {
    return offset & (cluster_bytes() - 1);
  }
  constexpr uint64_t cluster_of(uint64_t offset) const { return offset >> cluster_bits; }
  constexpr uint64_t offset_of(uint64_t cluster) const { return cluster << cluster_bits; }
  constexpr uint64_t clusters_for(uint64_t bytes) const {
    return (bytes >> cluster_bits) + (offset_in_cluster(bytes) != 0);
  }

  // What a write-zeroes can change, and a copy on write must fill: a cluster, or a subcluster.
  constexpr uint32_t granule_bits() const { return cluster_bits - (extended_l2 ? 5 : 0); }
  constexpr uint64_t granule_bytes() const { return uint64_t{1} << granule_bits(); }
  // With extended L2 entries: the index in its cluster.
  constexpr uint32_t subcluster_of(uint64_t offset) const {
    return static_cast<uint32_t>(offset_in_cluster(offset) >> granule_bits());
  }

  // Mapping of guest clusters.
  constexpr uint32_t l2_entry_bytes() const { return extended_l2 ? 16 : 8; }
  constexpr uint32_t l2_entries_bits() const { return cluster_bits - (extended_l2 ? 4 : 3); }
  constexpr uint64_t l2_entries() const { return uint64_t{1} << l2_entries_bits(); }
  constexpr uint64_t l1_index(uint64_t guest_cluster) const {
    return guest_cluster >> l2_entries_bits();
  }
  // Guest bytes below one L1 entry.
  constexpr uint32_t l1_entry_span_bits() const { return cluster_bits + l2_entries_bits(); }
  constexpr uint64_t l1_entries_for(uint64_t guest_bytes) const {
    const uint64_t span = uint64_t{1} << l1_entry_span_bits();
    return guest_bytes / span + (guest_bytes % span != 0);
  }

  // Tables are cached in slices: large clusters would waste memory and time on whole tables.
  constexpr uint32_t slice_bits() const { return std::min<uint32_t>(cluster_bits, 12); }
  constexpr uint32_t slice_bytes() const { return uint32_t{1} << slice_bits(); }
  constexpr uint32_t slices_per_cluster() const {
    return uint32_t{1} << (cluster_bits - slice_bits());
  }
  constexpr uint32_t l2_slice_entries_bits() const { return slice_bits() - (extended_l2 ? 4 : 3); }
  constexpr uint64_t l2_slice_entries() const { return uint64_t{1} << l2_slice_entries_bits(); }

  // Reference counts of host clusters.
  constexpr uint32_t refcount_bits() const { return uint32_t{1} << refcount_order; }
  constexpr uint64_t max_refcount() const {
    return refcount_order == 6 ? ~uint64_t{0} : (uint64_t{1} << refcount_bits()) - 1;
  }
  constexpr uint32_t refcounts_per_block_bits() const { return cluster_bits + 3 - refcount_order; }
  constexpr uint64_t refcounts_per_block() const {
    return uint64_t{1} << refcounts_per_block_bits();
  }
  constexpr uint32_t refcounts_per_slice_bits() const { return slice_bits() + 3 - refcount_order; }
  constexpr uint64_t refcounts_per_slice() const {
    return uint64_t{1} << refcounts_per_slice_bits();
  }
};

}  // namespace hull::blockcore::qcow2
