// Who refers to which host cluster, counted from the mapping and not from the refcounts: what a
// check compares and a repair writes. docs/interop/qcow2 as a whole.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/mapping.h"
#include "blockcore/file.h"
#include "blockcore/qcow2/header.h"
#include "blockcore/qcow2/host_run.h"
#include "blockcore/qcow2/l2_entry.h"

namespace hull::blockcore::qcow2 {

// One counter per host cluster of the file, in memory that is used as clusters are.
class References {
 public:
  // kOutOfRange for more clusters than a check can hold (2^28: 16 TiB in clusters of 64 KiB).
  static Result<References> create(uint64_t clusters);

  uint64_t clusters() const { return clusters_; }
  uint32_t operator[](uint64_t cluster) const { return counters()[cluster]; }
  // False if the cluster lies past the end of the file.
  bool add(uint64_t cluster) {
    if (cluster >= clusters_) return false;
    uint32_t& counter = counters()[cluster];
    if (counter != ~uint32_t{0}) ++counter;
    return true;
  }

 private:
  References(Mapping mapping, uint64_t clusters)
      : mapping_(std::move(mapping)), clusters_(clusters) {}
  uint32_t* counters() const { return reinterpret_cast<uint32_t*>(mapping_.data()); }

  Mapping mapping_;
  uint64_t clusters_;
};

// What was found on the way.
struct Findings {
  uint64_t corruptions = 0;
  uint64_t allocated_clusters = 0;   // of the active image
  uint64_t compressed_clusters = 0;  // of those
  uint64_t fragmented_clusters = 0;  // of those: not right behind the one before
  // In QEMU's words; at most kMaxMessages.
  std::vector<std::string> messages;
  static constexpr size_t kMaxMessages = 1000;

  void corrupt(std::string message) {
    ++corruptions;
    note(std::move(message));
  }
  void note(std::string message) {
    if (messages.size() < kMaxMessages) messages.push_back(std::move(message));
  }
};

// Follows everything in the image but the refcount table and its blocks: header, active and
// snapshots' L1 and L2 tables, data, the snapshot table, bitmaps. Only an I/O error, or a structure
// that nothing can be said about, is an error.
Task<Result<void>> count_references(File& file, const Header& header, References& references,
                                    Findings& findings);

// The two helpers are for the refcount structures, which only a check counts.
void count_range(uint64_t offset, uint64_t bytes, const Geometry& geometry, References& references,
                 Findings& findings);
Task<Result<std::vector<uint64_t>>> read_table(File& file, uint64_t offset, uint64_t entries);

}  // namespace hull::blockcore::qcow2
