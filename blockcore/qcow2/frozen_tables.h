// Tables that a snapshot in the making keeps still. One thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <span>
#include <utility>
#include <vector>

namespace hull::blockcore::qcow2 {

// L1 entries whose tables belong to a snapshot that is being made while nothing in the file, and no
// flag, says so yet (snapshots.h): whoever is to change what they map waits for the gate to open
// until they are thawed.
class FrozenTables {
 public:
  void freeze(std::span<const uint64_t> l1_indexes) {
    frozen_.insert(l1_indexes.begin(), l1_indexes.end());
  }
  bool any() const { return !frozen_.empty(); }
  // Inclusive.
  bool holds(uint64_t first, uint64_t last) const {
    if (frozen_.empty()) return false;
    const auto next = frozen_.lower_bound(first);
    return next != frozen_.end() && *next <= last;
  }
  // Somebody waits for them: they come first.
  void want(uint64_t first, uint64_t last) {
    for (auto at = frozen_.lower_bound(first); at != frozen_.end() && *at <= last; ++at)
      if (wanted_.size() < frozen_.size()) wanted_.push_back(*at);
  }
  std::vector<uint64_t> choose(size_t most) {
    std::set<uint64_t> chosen;
    for (const uint64_t index : std::exchange(wanted_, {}))
      if (chosen.size() < most && frozen_.contains(index)) chosen.insert(index);
    for (auto at = frozen_.begin(); at != frozen_.end() && chosen.size() < most; ++at)
      chosen.insert(*at);
    return {chosen.begin(), chosen.end()};
  }
  void thaw(std::span<const uint64_t> l1_indexes) {
    for (const uint64_t index : l1_indexes) frozen_.erase(index);
  }
  void thaw_all() { frozen_.clear(); }

 private:
  std::set<uint64_t> frozen_;
  std::vector<uint64_t> wanted_;
};

}  // namespace hull::blockcore::qcow2
