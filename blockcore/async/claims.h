// Guest ranges, in granules (geometry.h), whose mapping some operation is about to change: whole
// clusters that get a new host cluster, or subclusters that get data in the one that they have.
// Whoever else wants to change their mapping waits; readers do not, they see the old mapping until
// the new one is complete.
#pragma once

#include <cstdint>
#include <vector>

#include "blockcore/async/wait_list.h"
#include "blockcore/qcow2/format/geometry.h"

namespace hull::blockcore::qcow2 {

struct GranuleRange {
  uint64_t first = 0;
  uint64_t last = 0;  // inclusive
};

inline GranuleRange granules_of(const Geometry& geometry, uint64_t offset, uint64_t length) {
  return {offset >> geometry.granule_bits(), (offset + length - 1) >> geometry.granule_bits()};
}
// All of the clusters that the range touches.
inline GranuleRange granules_of_clusters(const Geometry& geometry, uint64_t offset,
                                         uint64_t length) {
  const uint64_t start = geometry.offset_of(geometry.cluster_of(offset));
  const uint64_t end = geometry.offset_of(geometry.cluster_of(offset + length - 1) + 1);
  return granules_of(geometry, start, end - start);
}

class Claims {
 public:
  // Lives in the frame of the operation.
  class [[nodiscard]] Claim {
   public:
    // The granules must be unclaimed.
    Claim(Claims& claims, GranuleRange range) : claims_(claims), range_(range) {
      claims_.claimed_.push_back(this);
    }
    Claim(const Claim&) = delete;
    Claim& operator=(const Claim&) = delete;
    ~Claim() {
      std::erase(claims_.claimed_, this);
      waiting_.wake_all();
    }

   private:
    friend class Claims;
    Claims& claims_;
    const GranuleRange range_;
    WaitList waiting_;
  };

  // Where to wait for one of the granules to become free; nullptr if all are. Look again
  // afterwards.
  WaitList* find(GranuleRange range) {
    for (Claim* claim : claimed_)
      if (claim->range_.first <= range.last && range.first <= claim->range_.last)
        return &claim->waiting_;
    return nullptr;
  }

 private:
  std::vector<Claim*> claimed_;
};

}  // namespace hull::blockcore::qcow2
