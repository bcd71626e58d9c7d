// Who owns which host cluster: refcount table and blocks of one image, and the allocator on top.
// docs/interop/qcow2, "Host cluster management".
//
// All changes happen in the cache and reach the file with a commit, which writes them before
// anything that refers to a newly allocated cluster. References that are dropped reach this class
// only after the commit that removed them from the mapping (release()). Single thread.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "blockcore/async/async_mutex.h"
#include "blockcore/file/file.h"
#include "blockcore/qcow2/alloc/held_clusters.h"
#include "blockcore/qcow2/alloc/host_run.h"
#include "blockcore/qcow2/format/header.h"
#include "blockcore/qcow2/mapping/host_table.h"
#include "blockcore/qcow2/mapping/slice_cache.h"

namespace hull::blockcore::qcow2 {

class ImageHeader;
class OverlapGuard;

class Refcounts {
 public:
  // `commit_lock` is held while a commit writes; taken here when the table has to move.
  Refcounts(File& file, ImageHeader& header, OverlapGuard& guard, InUse& in_use,
            AsyncMutex& commit_lock, uint64_t cache_bytes);

  Task<Result<void>> read_table();

  struct Allocation {
    HostRun run;
    // The run lies past everything that was ever written to the file, and inside it by now: it
    // reads as zeros there.
    bool fresh;
  };
  // The first free clusters in a row, at least one and at most `wanted`, now with a count of one.
  // kNoSpace if the format can address no more, or the block device has no more; kCorrupt if what
  // counts as free is known to be used.
  Task<Result<Allocation>> allocate(uint64_t wanted);

  // `count` free clusters in a row (not 0), now with a count of one: for tables.
  Task<Result<HostRun>> allocate_row(uint64_t count);

  // Gives back what allocate() has counted ahead. Nothing else may be allocating.
  Task<Result<void>> drop_reserve();

  // Room for `bytes`, at most a cluster, behind what this call gave out last, where that is
  // possible; not aligned to anything. Each cluster that it touches counts one more.
  Task<Result<uint64_t>> allocate_bytes(uint64_t bytes);

  // Drops one reference to each cluster (a cluster may be listed more than once). What nobody
  // refers to any more is given back to the host if `punch`, and only then can be allocated again.
  // What cannot be read stays allocated, which is a leak and no worse.
  Task<Result<void>> release(std::vector<HostRun> runs, bool punch);

  Task<Result<uint64_t>> count(uint64_t cluster);
  // How many clusters of the file count as used.
  Task<Result<uint64_t>> count_used();

  // Somebody has changed counts in the file, and freed no cluster before that one. Nothing may be
  // dirty.
  void forget(uint64_t first_freed);
  // Those are free in the file and are not to be used before end_holding(): what is in them can be
  // given back to the host meanwhile.
  void begin_holding(const std::vector<HostRun>& runs);
  void end_holding(const std::vector<HostRun>& runs);

  SliceCache& cache() { return cache_; }
  HostTable& table() { return table_; }
  bool dirty() const { return cache_.dirty() || table_.dirty(); }
  // Whether the file has grown since the last call: until the next flush a crash may leave it as
  // short as it was.
  bool take_growth() { return std::exchange(grown_, false); }
  // Writes all changed blocks; the caller holds the commit lock.
  Task<Result<void>> write_blocks();

 private:
  Task<Result<void>> load_slice(uint64_t cluster);
  Task<Result<Allocation>> take_clusters(uint64_t wanted);
  Task<Result<bool>> share_packed();
  HostRun take_free(Slice& slice, uint64_t wanted);
  std::optional<Allocation> take_reserved(uint64_t wanted);
  Result<void> reach_over(const Allocation& allocation, Slice& slice);
  void reserve_behind(Slice& slice);
  Result<void> extend_to(uint64_t end_cluster);
  Allocation with_reserve(HostRun run, uint64_t reserved);
  Task<Result<void>> add_block(uint64_t block);

  // refcount_release.cc
  Task<Result<void>> drop(HostRun run, std::vector<HostRun>& unreferenced);

  // refcount_rows.cc
  struct Row;
  bool is_described(uint64_t block) const;
  void complete(Row& row) const;
  Task<Result<Row>> find_row(uint64_t count);
  uint64_t skip_used(const Slice& slice, uint64_t from, uint64_t& row_first) const;
  Result<void> add_row_blocks(const Row& row);
  Task<Result<void>> count_row(const Row& row);

  // refcount_growth.cc
  struct Growth {
    uint64_t first_cluster;  // of the new table, which is followed by the blocks
    uint64_t table_clusters;
    uint64_t blocks;
  };
  Result<Growth> plan_growth() const;
  Task<Result<void>> grow_table();
  Task<Result<void>> write_growth(const Growth& growth);
  const Geometry& geometry() const;
  uint64_t cluster_limit() const;
  std::unexpected<Error> no_cluster_left() const;

  File& file_;
  ImageHeader& header_;
  OverlapGuard& guard_;
  AsyncMutex& commit_lock_;
  HostTable table_;
  SliceCache cache_;
  AsyncMutex allocating_;
  // No free cluster lies before it, but for those that are held. The header's is never free,
  // whatever a corrupt refcount says.
  uint64_t hint_ = 1;
  uint64_t fresh_from_ = 0;  // first cluster that was never written
  bool grown_ = false;
  // Clusters at the end of the file that count as used before anybody uses them, so that most
  // allocations change no refcount, and their commit needs no flush between refcounts and mapping.
  // A crash leaks them.
  HostRun reserve_;
  uint64_t packed_end_ = 0;  // of allocate_bytes(), inside a cluster that it began; 0: none
  HeldClusters held_;
};

}  // namespace hull::blockcore::qcow2
