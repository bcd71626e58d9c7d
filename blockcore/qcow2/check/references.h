// Who refers to which host cluster, counted from the mapping and not from the refcounts: what a
// check compares and a repair writes. docs/interop/qcow2 as a whole.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/endian.h"
#include "blockcore/file/file.h"
#include "blockcore/qcow2/alloc/host_run.h"
#include "blockcore/qcow2/check/reference_counts.h"
#include "blockcore/qcow2/format/header.h"
#include "blockcore/qcow2/format/l2_entry.h"

namespace hull::blockcore::qcow2 {

enum class StructureKind : uint8_t { kL1, kL2, kOther };

// A structure in whole clusters of the file, and how often it is referred to as that.
struct StructureUse {
  uint64_t first;  // cluster
  uint32_t clusters;
  uint32_t times;
  StructureKind kind;
};

// The host clusters of a file and who refers to them.
class References {
 public:
  // The last cluster need not be whole, and compressed data may reach into the one behind it.
  // Clusters that no refcount of the largest table could count are as good as outside the file.
  static Result<References> create(uint64_t file_bytes, const Geometry& geometry);

  // Clusters from here on are neither counted nor compared.
  uint64_t clusters() const { return counts_.clusters(); }
  uint32_t operator[](uint64_t cluster) const { return counts_[cluster]; }
  void set(uint64_t cluster, uint32_t count) { counts_.set(cluster, count); }
  void add(uint64_t cluster, uint32_t times = 1) { counts_.add(cluster, times); }
  ReferenceCounts& counts() { return counts_; }
  const ReferenceCounts& counts() const { return counts_; }
  // kOutOfRange if so many clusters are in use that there was no memory to count them.
  Result<void> check_counted() const;
  // Places inside the file that are tables or other structures: after count_references() sorted,
  // and each of them once.
  std::vector<StructureUse>& structures() { return structures_; }
  const std::vector<StructureUse>& structures() const { return structures_; }
  // The L2 tables among them that are alone, as host offsets in their order.
  std::vector<uint64_t> sole_l2_tables(const Geometry& geometry) const;
  // Whether the L1 table there is alone.
  bool is_sole_l1(uint64_t offset, const Geometry& geometry) const;
  // Nothing else refers to what it occupies.
  bool is_alone(const StructureUse& structure) const {
    for (uint64_t i = 0; i < structure.clusters; ++i)
      if (counts_[structure.first + i] != structure.times) return false;
    return true;
  }
  // Whether a structure lies inside the file: it may miss less than a cluster at the end.
  bool inside(uint64_t offset, uint64_t bytes) const {
    return offset < kMaxHostBytes && bytes <= kMaxHostBytes && offset + bytes < limit_bytes_;
  }
  // What was referred to and is not inside: nothing else may be put there.
  const std::vector<HostRun>& outside() const { return outside_; }
  void add_outside(HostRun run) {
    if (outside_.size() < kMaxOutside) outside_.push_back(run);
  }
  static constexpr size_t kMaxOutside = 65536;

 private:
  References(ReferenceCounts counts, uint64_t limit_bytes)
      : counts_(std::move(counts)), limit_bytes_(limit_bytes) {}

  ReferenceCounts counts_;
  uint64_t limit_bytes_;
  std::vector<HostRun> outside_;
  std::vector<StructureUse> structures_;
};

// What was found on the way.
struct Findings {
  uint64_t corruptions = 0;  // those that remain
  uint64_t corruptions_fixed = 0;
  // Of those that remain: entries without data at impossible places (without_place()).
  uint64_t replaceable = 0;
  // Some table could not be read as a whole: what it refers to is not counted, so that no count may
  // be lowered, and no cluster is known to have one user alone.
  bool unfollowed = false;
  uint64_t allocated_clusters = 0;   // of the active image
  uint64_t compressed_clusters = 0;  // of those
  uint64_t fragmented_clusters = 0;  // of those: not right behind the one before
  // Indices into the snapshot table: these say less than version 3 demands.
  std::vector<size_t> incomplete_snapshots;
  // In QEMU's words; at most kMaxMessages.
  std::vector<std::string> messages;
  static constexpr size_t kMaxMessages = 1000;

  void corrupt(std::string message, uint64_t times = 1) {
    corruptions += times;
    note(std::move(message));
  }
  void note(std::string message) {
    if (messages.size() < kMaxMessages) messages.push_back(std::move(message));
  }
};

// Follows everything in the image but the refcount table and its blocks: header, active and
// snapshots' L1 and L2 tables, data, the snapshot table, bitmaps, the encryption header. A table
// that many snapshots share is read once. A structure that something else refers to as well is a
// corruption. Only an I/O error, or a structure that nothing can be said about, is an error.
Task<Result<void>> count_references(File& file, const Header& header, References& references,
                                    Findings& findings);

// For the refcount structures, which only a check counts. `times`: so many references. What lies
// outside the file is a corruption, and counts as far as there are counters. False: it does.
bool count_range(uint64_t offset, uint64_t bytes, const Geometry& geometry, References& references,
                 Findings& findings, uint32_t times = 1);
// Joins structures that are named again with the first of their place, and keeps the order: who
// follows each of the rest once does work in proportion to the file, whatever an L1 table says.
void join_repeated(std::vector<StructureUse>& uses);
// `entries` big-endian words; bytes past the end of the file are zeros.
Task<Result<std::vector<uint64_t>>> read_table(File& file, uint64_t offset, uint64_t entries);

inline uint64_t load_be64(const std::byte* from) {
  Be64 raw;
  std::memcpy(&raw, from, sizeof raw);
  return raw;
}

}  // namespace hull::blockcore::qcow2
