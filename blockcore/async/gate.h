// How an operation on an image as a whole has the image for itself while a disk serves requests:
// each request of the guest holds a pass, and the gate closes for as long as a step of the
// operation takes. One thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "blockcore/async/task.h"
#include "blockcore/async/wait_list.h"

namespace hull::blockcore::qcow2 {

class Gate {
 public:
  // Lives in the frame of a request, which takes it while the gate is open and waits for no other
  // request that has none yet.
  class [[nodiscard]] Pass {
   public:
    explicit Pass(Gate& gate) : gate_(gate) {
      CHECK(!gate.closed_);
      ++gate.inside_;
    }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;
    ~Pass() {
      if (--gate_.inside_ == 0 && gate_.closed_) gate_.left_.wake_all();
    }

   private:
    Gate& gate_;
  };

  // Opens the gate when it dies; requests that waited begin in its destructor.
  class [[nodiscard]] Closed {
   public:
    explicit Closed(Gate& gate) : gate_(&gate) {}
    Closed(Closed&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Closed& operator=(Closed&&) = delete;
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;
    ~Closed() {
      if (gate_ == nullptr) return;
      gate_->closed_ = false;
      gate_->opened_.wake_all();
    }

   private:
    Gate* gate_;
  };

  bool is_open() const { return !closed_; }
  // Until the gate opens the next time.
  auto wait() { return opened_.wait(); }

  // New requests wait, and those that are inside have ended when it returns. One at a time
  // (Parts::editing).
  Task<Closed> close() {
    CHECK(!closed_);
    closed_ = true;
    while (inside_ != 0) co_await left_.wait();
    co_return Closed(*this);
  }

 private:
  bool closed_ = false;
  uint64_t inside_ = 0;
  WaitList opened_;
  WaitList left_;
};

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
