// A change of an image's metadata as a whole, past the caches: the frame that snapshots share.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "blockcore/qcow2/edit/refcount_changes.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore::qcow2 {

class MetadataEdit {
 public:
  explicit MetadataEdit(Parts& parts)
      : parts_(parts),
        refcounts_(*parts.image.file, parts.image.geometry, parts.image.refcounts.table()) {}

  // First of all: everything that is in memory reaches the file, durably; no counts are changed
  // yet.
  Task<Result<void>> begin();
  // Before each further step of the same edit. Under the dirty bit, where neither counts nor COPIED
  // have an order, only what counts must be in the file, and no flush is needed before the last
  // begin(); else as begin().
  Task<Result<void>> begin_step();

  // A new table in clusters of its own; counted, but not referred to, and durable, or after
  // mark_dirty() with the next begin(). Returns its offset, 0 for an empty one. Before anything is
  // counted.
  Task<Result<uint64_t>> add_table(std::vector<std::byte> bytes);

  // Counts the references of a mapping up or down, in memory: L2 tables and data, but not the L1
  // table itself.
  Task<Result<void>> count_mapping(std::span<const uint64_t> l1, Step step);
  // Makes COPIED in the L2 tables what the counts in memory say; not durable yet.
  Task<Result<void>> write_copied_flags(std::span<const uint64_t> l1);
  // The same for what is cached of the active table of that L1 entry.
  Task<Result<void>> correct_cached_flags(uint64_t l1_index);
  // An L1 entry with COPIED as the counts in memory have it.
  Task<Result<uint64_t>> flagged(uint64_t l1_entry);
  // The counts that were changed in memory; durable when it returns.
  Task<Result<void>> write_refcounts();
  // The same in a step: durable, but not under the dirty bit.
  Task<Result<void>> store_refcounts();

  // Sets the dirty bit, where the image has one.
  Task<Result<void>> mark_dirty();
  // One write of the header, without the dirty bit that mark_dirty() has set.
  Task<Result<void>> publish(Header changed, bool still_dirty);
  Task<Result<void>> mark_clean();
  // What has come down to zero since begin(), ascending.
  std::vector<HostRun> freed() const;
  // After a step, also one that failed, if begin_step() did not: the cached counts are forgotten.
  void end_step();

  // After everything, also after a failure: the caches forget what they knew, the L1 table is read
  // again, and `unused` is released.
  Task<Result<void>> finish(std::vector<HostRun> unused);
  // What add_table() has made, unless publish() was called.
  std::vector<HostRun> take_added() { return std::exchange(added_, {}); }

 private:
  Parts& parts_;
  RefcountChanges refcounts_;
  std::vector<HostRun> added_;
  bool marked_ = false;
};

std::vector<std::byte> encode_table(std::span<const uint64_t> entries);
HostRun clusters_of_table(const Geometry& geometry, uint64_t offset, uint64_t bytes);

}  // namespace hull::blockcore::qcow2
