// Host clusters that nobody refers to and that are not to be used yet: what is in them is still
// being given back to the host.
#pragma once

#include <cstdint>
#include <iterator>
#include <map>

#include "blockcore/qcow2/alloc/host_run.h"

namespace hull::blockcore::qcow2 {

class HeldClusters {
 public:
  // None of them is held.
  void add(HostRun run) { ends_.emplace(run.first, run.first + run.count); }
  // Whole runs that were added, one or more of them next to each other.
  void remove(HostRun run) {
    ends_.erase(ends_.lower_bound(run.first), ends_.lower_bound(run.first + run.count));
  }
  bool contains(uint64_t cluster) const {
    if (ends_.empty()) return false;
    const auto after = ends_.upper_bound(cluster);
    return after != ends_.begin() && std::prev(after)->second > cluster;
  }

 private:
  std::map<uint64_t, uint64_t> ends_;  // first cluster → end of the run
};

}  // namespace hull::blockcore::qcow2
