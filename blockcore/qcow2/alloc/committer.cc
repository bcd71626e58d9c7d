#include "blockcore/qcow2/alloc/committer.h"

#include "blockcore/qcow2/alloc/write_back.h"

namespace hull::blockcore::qcow2 {
namespace {

// Freed clusters are remembered in memory until the next commit.
constexpr size_t kMaxUnlinkedRuns = 65536;

}  // namespace

// What one commit writes, as it was at one moment.
struct Committer::Changes {
  SliceCache::Copies l2;
  std::vector<HostTable::SectorCopy> l1;
  std::vector<HostTable::SectorCopy> refcount_table;
  std::vector<HostRun> unlinked;
  bool ordered = false;  // after a flush, whatever the counts
};

bool Committer::is_due() const {
  return image_.map.cache().wants_commit() || image_.refcounts.cache().wants_commit() ||
         image_.map.unlinked().size() > kMaxUnlinkedRuns;
}

Task<Result<void>> Committer::commit() {
  const uint64_t started_before = started_;
  const AsyncMutex::Guard guard = co_await image_.commit_lock.lock();
  // One that began after this call has covered it.
  if (started_ != started_before) co_return last_;
  ++started_;
  last_ = co_await commit_locked();
  co_return last_;
}

Task<Result<void>> Committer::commit_all() {
  CO_TRY_VOID(co_await commit());
  const AsyncMutex::Guard guard = co_await image_.commit_lock.lock();
  if (image_.guard.corrupt()) co_return image_.guard.refusal();
  (void)co_await image_.refcounts.drop_reserve();  // or it leaks
  if (!image_.refcounts.dirty()) co_return {};
  Changes changes;
  changes.refcount_table = image_.refcounts.table().copy_dirty();
  auto written = co_await write_refcounts(changes);
  if (!written) image_.refcounts.table().mark_dirty(changes.refcount_table);
  if (written) written = co_await image_.file->flush();
  co_return std::move(written);
}

// Before anything is written: every place that is about to be.
Task<Result<void>> Committer::check_places(const Changes& changes) {
  OverlapGuard& guard = image_.guard;
  const auto check = [&guard](uint64_t offset, uint64_t bytes, Structure own) {
    return guard.find(offset, bytes, own).has_value();
  };
  const uint64_t slice_bytes = image_.map.cache().slice_bytes();
  for (const SliceCache::Copy& copy : changes.l2.slices)
    if (check(copy.host_offset, slice_bytes, Structure::kActiveL2))
      co_return co_await guard.check(copy.host_offset, slice_bytes, Structure::kActiveL2);
  for (const HostTable::SectorCopy& copy : changes.l1)
    if (check(copy.host_offset, copy.bytes.size(), Structure::kActiveL1))
      co_return co_await guard.check(copy.host_offset, copy.bytes.size(), Structure::kActiveL1);
  for (const HostTable::SectorCopy& copy : changes.refcount_table)
    if (check(copy.host_offset, copy.bytes.size(), Structure::kRefcountTable))
      co_return co_await guard.check(copy.host_offset, copy.bytes.size(),
                                     Structure::kRefcountTable);
  co_return {};
}

Task<Result<void>> Committer::commit_locked() {
  if (image_.guard.corrupt()) co_return image_.guard.refusal();
  if (!image_.map.dirty()) co_return co_await image_.flush_all();
  // All copies are taken before the first co_await: whatever the L2 tables refer to is counted in
  // the refcounts that are written before them.
  Changes changes;
  changes.l2 = image_.map.cache().copy_dirty();
  image_.map.place(changes.l2);
  changes.l1 = image_.map.l1().copy_dirty();
  changes.refcount_table = image_.refcounts.table().copy_dirty();
  changes.unlinked = std::exchange(image_.map.unlinked(), {});
  changes.ordered = std::exchange(image_.map.needs_data(), false);
  // Counts that a step of a snapshot has written are not dirty any more; the file may be short.
  if (image_.refcounts.take_growth()) changes.ordered = true;
  auto written = co_await check_places(changes);
  if (written) written = co_await write(changes);
  image_.map.cache().finish_writing(changes.l2, !written);
  if (written) co_return co_await free_unlinked(std::move(changes.unlinked));

  image_.map.needs_data() |= changes.ordered;
  image_.map.l1().mark_dirty(changes.l1);
  image_.refcounts.table().mark_dirty(changes.refcount_table);
  std::vector<HostRun>& unlinked = image_.map.unlinked();
  unlinked.insert(unlinked.begin(), changes.unlinked.begin(), changes.unlinked.end());
  co_return std::move(written);
}

Task<Result<void>> Committer::write(Changes& changes) {
  File& file = *image_.file;
  const bool first_flush =
      changes.ordered || image_.refcounts.dirty() || !changes.refcount_table.empty();
  if (first_flush) {
    CO_TRY_VOID(co_await write_refcounts(changes));
    CO_TRY_VOID(co_await image_.flush_all());
  }
  CO_TRY_VOID(co_await write_slices(file, changes.l2, image_.map.cache().slice_bytes()));
  if (!changes.l1.empty()) {
    CO_TRY_VOID(co_await file.flush());
    CO_TRY_VOID(co_await write_sectors(file, changes.l1));
  }
  if (first_flush) co_return co_await file.flush();
  co_return co_await image_.flush_all();
}

Task<Result<void>> Committer::write_refcounts(Changes& changes) {
  CO_TRY_VOID(co_await image_.refcounts.write_blocks());
  if (changes.refcount_table.empty()) co_return {};
  CO_TRY_VOID(co_await image_.file->flush());
  co_return co_await write_sectors(*image_.file, changes.refcount_table);
}

Task<Result<void>> Committer::free_unlinked(std::vector<HostRun> unlinked) {
  if (unlinked.empty()) co_return {};
  image_.in_use.begin_drain();
  while (!image_.in_use.drained()) co_await image_.in_use.wait();
  // After it: reads that were in flight have kept what they decompressed.
  reader_.forget_compressed();
  // What cannot be freed leaks; everything that was asked for is durable all the same.
  (void)co_await image_.refcounts.release(std::move(unlinked), true);
  co_return {};
}

}  // namespace hull::blockcore::qcow2
