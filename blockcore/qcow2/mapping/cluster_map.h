// Where guest clusters live: the L1 table (all of it in memory) and a cache of slices of the L2
// tables. docs/interop/qcow2, "Cluster mapping".
//
// Changes happen in memory and reach the file with a commit. A table that snapshots share is copied
// before it is changed. Single thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "blockcore/async/async_mutex.h"
#include "blockcore/file/file.h"
#include "blockcore/qcow2/alloc/host_run.h"
#include "blockcore/qcow2/format/header.h"
#include "blockcore/qcow2/format/l2_entry.h"
#include "blockcore/qcow2/mapping/host_table.h"
#include "blockcore/qcow2/mapping/slice_cache.h"

namespace hull::blockcore::qcow2 {

class Refcounts;

// Guest bytes that are mapped alike, in one slice of an L2 table: whole clusters, or with extended
// L2 entries a run of subclusters that may begin and end inside a cluster.
struct Extent {
  ClusterKind kind = ClusterKind::kUnallocated;
  uint64_t length = 0;
  L2Entry entry;             // of the first cluster
  uint64_t host_offset = 0;  // of the first byte: kNormal, and others if `writable`; contiguous
  // The host clusters may be written in place. With an external data file always: each guest
  // cluster has its place there.
  bool writable = false;
};

class ClusterMap {
 public:
  ClusterMap(File& file, const Header& header, Refcounts& refcounts, InUse& in_use,
             uint64_t cache_bytes);

  // Before the first use: nothing will be written.
  void set_read_only() { read_only_ = true; }
  Task<Result<void>> read_l1();
  // The same when somebody has changed the mapping in the file. Nothing may be dirty.
  Task<Result<void>> reload();
  // The same for another size of the disk, before the header says so.
  Task<Result<void>> reload(uint64_t l1_entries);
  // What is in memory of the table of that L1 entry; valid while no operation is in flight.
  std::vector<Slice*> cached_slices(uint64_t l1_index);

  // What [offset, …) is, as far as it is alike and at most `length` bytes (not 0). nullopt: load()
  // and try again.
  std::optional<Extent> find(uint64_t offset, uint64_t length);
  Task<Result<void>> load(uint64_t offset);
  // The error for an extent of kind kInvalid.
  Error invalid_entry(uint64_t offset, const Extent& extent) const;

  // The cluster's entry is in memory, in a table of the active image alone: entry() and set_entry()
  // work until the next co_await. If not: make_ready() and look again.
  bool is_ready(uint64_t cluster);
  Task<Result<void>> make_ready(uint64_t cluster);
  L2Entry entry(uint64_t cluster);
  // What the entry referred to before is unlinked, unless the new one keeps the host cluster.
  // `unordered`: the data of its host cluster need not be durable before it, because what the guest
  // cluster held and what the host cluster holds until then are both zeros.
  void set_entry(uint64_t cluster, L2Entry entry, bool unordered = false);

  // Copies the table of that L1 entry, which is the active image's alone, to a cluster before
  // `limit`; false if none is free there.
  Task<Result<bool>> move_table(uint64_t l1_index, uint64_t limit);

  // The L2 tables from that L1 entry on, which are empty in the file as well, are unlinked. Nothing
  // may be dirty, and no operation in flight.
  void drop_tables(uint64_t first_l1_index);

  SliceCache& cache() { return cache_; }
  HostTable& l1() { return l1_; }
  bool dirty() const { return cache_.dirty() || l1_.dirty(); }
  // Host clusters that the mapping in memory refers to no more, while the file may.
  std::vector<HostRun>& unlinked() { return unlinked_; }
  // Whether data must be durable before the changes that are not committed yet.
  bool& needs_data() { return needs_data_; }
  // Where the slices that are copied belong in the file.
  void place(SliceCache::Copies& copies) const;

 private:
  uint64_t slice_key(uint64_t cluster) const;
  L2Entry load_entry(const Slice& slice, uint64_t cluster) const;
  ClusterKind checked_kind(L2Entry entry, uint64_t cluster, uint32_t subcluster) const;
  std::string_view is_fixed_table(uint64_t host) const;
  bool is_writable(L2Entry entry) const;
  uint64_t bytes_alike(L2Entry entry, uint64_t in_cluster) const;
  Result<uint64_t> table_offset(uint64_t l1_index) const;
  void unlink(L2Entry entry);
  Task<Result<void>> add_table(uint64_t cluster);
  Task<Result<void>> copy_table(uint64_t l1_index);
  Task<Result<void>> copy_table_to(uint64_t l1_index, HostRun place);
  Task<Result<void>> write_copy(uint64_t old_offset, uint64_t new_offset);

  File& file_;
  const Header& header_;
  const Geometry geometry_;
  Refcounts& refcounts_;
  HostTable l1_;
  SliceCache cache_;
  bool read_only_ = false;
  AsyncMutex changing_tables_;
  std::vector<HostRun> unlinked_;
  bool needs_data_ = false;
};

}  // namespace hull::blockcore::qcow2
