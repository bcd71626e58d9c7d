// Guest clusters that some operation is giving a new host cluster. Whoever else wants to change
// their mapping waits; readers do not, they see the old mapping until the new one is complete.
#pragma once

#include <cstdint>
#include <vector>

#include "base/check.h"
#include "blockcore/qcow2/wait_list.h"

namespace hull::blockcore::qcow2 {

class Claims {
 public:
  // Lives in the frame of the operation.
  class [[nodiscard]] Claim {
   public:
    // The clusters must be unclaimed.
    Claim(Claims& claims, uint64_t first_cluster, uint64_t last_cluster)
        : claims_(claims), first_(first_cluster), last_(last_cluster) {
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
    const uint64_t first_;
    const uint64_t last_;
    WaitList waiting_;
  };

  // Where to wait for one of the clusters first … last to become free; nullptr if all are. Look
  // again afterwards.
  WaitList* find(uint64_t first, uint64_t last) {
    for (Claim* claim : claimed_)
      if (claim->first_ <= last && first <= claim->last_) return &claim->waiting_;
    return nullptr;
  }

 private:
  std::vector<Claim*> claimed_;
};

}  // namespace hull::blockcore::qcow2
