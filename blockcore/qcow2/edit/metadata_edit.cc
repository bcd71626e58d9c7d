#include "blockcore/qcow2/edit/metadata_edit.h"

#include <algorithm>
#include <cstring>

#include "base/endian.h"
#include "blockcore/qcow2/mapping/l2_stream.h"

namespace hull::blockcore::qcow2 {

std::vector<std::byte> encode_table(std::span<const uint64_t> entries) {
  std::vector<std::byte> bytes(entries.size() * 8);
  for (size_t i = 0; i < entries.size(); ++i) {
    const Be64 raw = entries[i];
    std::memcpy(bytes.data() + i * 8, &raw, sizeof raw);
  }
  return bytes;
}

HostRun clusters_of_table(const Geometry& geometry, uint64_t offset, uint64_t bytes) {
  return {geometry.cluster_of(offset), geometry.clusters_for(bytes)};
}

Task<Result<void>> MetadataEdit::begin() {
  CO_TRY_VOID(co_await parts_.committer.commit_all());
  CHECK(!parts_.image.map.dirty() && !parts_.image.refcounts.dirty());
  refcounts_.restart();
  co_return {};
}

Task<Result<void>> MetadataEdit::begin_step() {
  Image& image = parts_.image;
  // A new refcount block must be in the file before the table refers to it.
  if (!image.header->dirty() || image.refcounts.table().dirty()) co_return co_await begin();
  const AsyncMutex::Guard guard = co_await image.commit_lock.lock();
  CO_TRY_VOID(co_await image.refcounts.write_blocks());
  refcounts_.restart();
  co_return {};
}

Task<Result<uint64_t>> MetadataEdit::add_table(std::vector<std::byte> bytes) {
  if (bytes.empty()) co_return 0;
  const Geometry& geometry = parts_.image.geometry;
  const uint64_t clusters = geometry.clusters_for(bytes.size());
  CO_TRY(const HostRun run, co_await parts_.image.refcounts.allocate_row(clusters));
  added_.push_back(run);
  bytes.resize(geometry.offset_of(clusters));
  const uint64_t offset = geometry.offset_of(run.first);
  CO_TRY_VOID(co_await parts_.image.guard.check(offset, bytes.size(), Structure::kGuestData));
  CO_TRY_VOID(co_await write_exactly(*parts_.image.file, offset, bytes));
  if (!marked_) CO_TRY_VOID(co_await parts_.committer.commit_all());
  co_return offset;
}

Task<Result<void>> MetadataEdit::count_mapping(std::span<const uint64_t> l1, Step step) {
  const Geometry& geometry = parts_.image.geometry;
  L2Stream stream(*parts_.image.file, geometry, l1);
  for (;;) {
    CO_TRY(const std::span<L2Stream::Table> tables, co_await stream.next());
    if (tables.empty()) co_return {};
    for (const L2Stream::Table& table : tables) {
      const HostRun own{geometry.cluster_of(table.host_offset), 1};
      CO_TRY_VOID(co_await refcounts_.change(own, step));
      CO_TRY_VOID(co_await refcounts_.change_entries(table.bytes, step));
    }
  }
}

Task<Result<void>> MetadataEdit::write_copied_flags(std::span<const uint64_t> l1) {
  const Geometry& geometry = parts_.image.geometry;
  L2Stream stream(*parts_.image.file, geometry, l1);
  for (;;) {
    CO_TRY(const std::span<L2Stream::Table> tables, co_await stream.next());
    if (tables.empty()) co_return {};
    for (L2Stream::Table& table : tables) {
      CO_TRY(table.dirty,
             co_await refcounts_.correct_copied({table.bytes, geometry.cluster_bytes()}));
      if (table.dirty)
        CO_TRY_VOID(co_await parts_.image.guard.check(table.host_offset, geometry.cluster_bytes(),
                                                      Structure::kActiveL2));
    }
    CO_TRY_VOID(co_await stream.write_dirty());
  }
}

Task<Result<void>> MetadataEdit::correct_cached_flags(uint64_t l1_index) {
  const size_t bytes = parts_.image.map.cache().slice_bytes();
  for (Slice* slice : parts_.image.map.cached_slices(l1_index))
    CO_TRY_VOID(co_await refcounts_.correct_copied({slice->bytes(), bytes}));
  co_return {};
}

Task<Result<void>> MetadataEdit::write_refcounts() {
  CO_TRY_VOID(co_await refcounts_.write());
  co_return co_await parts_.image.file->flush();
}

Task<Result<void>> MetadataEdit::store_refcounts() {
  if (!parts_.image.header->dirty()) co_return co_await write_refcounts();
  co_return co_await refcounts_.write();
}

Task<Result<uint64_t>> MetadataEdit::flagged(uint64_t l1_entry) {
  const uint64_t table = l1_entry & kOffsetMask;
  if (table == 0) co_return l1_entry;
  CO_TRY(const uint64_t references,
         co_await refcounts_.count(parts_.image.geometry.cluster_of(table)));
  co_return references == 1 ? l1_entry | kCopiedFlag : l1_entry & ~kCopiedFlag;
}

Task<Result<void>> MetadataEdit::mark_dirty() {
  ImageHeader& header = parts_.image.header;
  if (header->version < 3 || header->dirty()) co_return {};
  marked_ = true;
  co_return co_await header.set_features(
      *parts_.image.file, header->incompatible | kIncompatibleDirty, header->autoclear);
}

Task<Result<void>> MetadataEdit::publish(Header changed, bool still_dirty) {
  // If this fails, the file may refer to them all the same.
  added_.clear();
  if (marked_ && !still_dirty) changed.incompatible &= ~kIncompatibleDirty;
  co_return co_await parts_.image.header.update(*parts_.image.file, std::move(changed));
}

Task<Result<void>> MetadataEdit::mark_clean() {
  if (!marked_) co_return {};
  co_return co_await publish(*parts_.image.header, false);
}

std::vector<HostRun> MetadataEdit::freed() const {
  std::vector<HostRun> sorted = refcounts_.freed();
  std::ranges::sort(sorted, {}, &HostRun::first);
  std::vector<HostRun> joined;
  for (const HostRun run : sorted) add_run(joined, run);
  return joined;
}

void MetadataEdit::end_step() {
  parts_.image.refcounts.forget(refcounts_.first_freed());
  parts_.reader.forget_compressed();
}

Task<Result<void>> MetadataEdit::finish(std::vector<HostRun> unused) {
  Image& image = parts_.image;
  // Still dirty: not even begin() succeeded, or a table could not be added, and nothing else has
  // been tried.
  if (!image.refcounts.dirty() && !image.map.dirty() && image.map.unlinked().empty()) {
    image.refcounts.forget(refcounts_.first_freed());
    parts_.reader.forget_compressed();
    CO_TRY_VOID(co_await image.map.reload());
    CO_TRY_VOID(co_await image.guard.read_places());
  }
  if (unused.empty()) co_return {};
  // What cannot be given back leaks.
  (void)co_await image.refcounts.release(std::move(unused), true);
  co_return co_await parts_.committer.commit_all();
}

}  // namespace hull::blockcore::qcow2
