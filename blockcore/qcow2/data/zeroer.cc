#include "blockcore/qcow2/data/zeroer.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/checked.h"
#include "blockcore/zero_bytes.h"

namespace hull::blockcore::qcow2 {
namespace {

// Zeros without a buffer of their size.
constexpr uint64_t kMaxZeroWrite = 4 << 20;

}  // namespace

Task<Result<void>> Zeroer::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
  // The file itself must read as the disk does.
  if (image_.header->data_file_is_raw())
    co_return co_await image_.data().write_zeroes(offset, length, may_unmap);
  if (may_unmap) CO_TRY_VOID(co_await discard_external(offset, offset + length));
  const uint64_t granule = image_.geometry.granule_bytes();
  const Action action = may_unmap ? Action::kZeroAndUnmap : Action::kZero;
  const uint64_t end = offset + length;
  const uint64_t last_whole = whole_end(end);
  while (offset < end) {
    if (committer_.is_due()) CO_TRY_VOID(co_await committer_.commit());
    const bool whole = offset % granule == 0 && offset < last_whole;
    if (whole && can_change(action)) {
      CO_TRY(const uint64_t done, co_await change_clusters(offset, last_whole - offset, action));
      offset += done;
    } else {
      const uint64_t part_end =
          std::min(end, whole ? offset + kMaxZeroWrite : align_down(offset, granule) + granule);
      CO_TRY_VOID(co_await write_zero_bytes(offset, part_end - offset));
      offset = part_end;
    }
  }
  co_return {};
}

// The end of the last granule of [0, end) that is whole: that in which the disk ends counts.
uint64_t Zeroer::whole_end(uint64_t end) const {
  return end == image_.size_bytes() ? end : align_down(end, image_.geometry.granule_bytes());
}

// Gives back what whole granules have in the data file, before the mapping forgets it: afterwards
// the place may already hold new data. A crash in between leaves zeros or what was there.
Task<Result<void>> Zeroer::discard_external(uint64_t offset, uint64_t end) {
  if (image_.data_file == nullptr) co_return {};
  offset = align_up(offset, image_.geometry.granule_bytes());
  end = whole_end(end);
  if (offset < end) (void)co_await image_.data().discard(offset, end - offset);  // a hint
  co_return {};
}

Task<Result<void>> Zeroer::discard(uint64_t offset, uint64_t length) {
  if (image_.header->data_file_is_raw()) co_return co_await image_.data().discard(offset, length);
  CO_TRY_VOID(co_await discard_external(offset, offset + length));
  const uint64_t end = whole_end(offset + length);
  offset = align_up(offset, image_.geometry.granule_bytes());
  if (!can_change(Action::kDiscard)) co_return {};
  while (offset < end) {
    if (committer_.is_due()) CO_TRY_VOID(co_await committer_.commit());
    CO_TRY(const uint64_t done, co_await change_clusters(offset, end - offset, Action::kDiscard));
    offset += done;
  }
  co_return {};
}

// Version 2 has no entry that hides the backing file.
bool Zeroer::can_change(Action action) const {
  if (image_.header->has_zero_flag() || image_.geometry.extended_l2) return true;
  return image_.backing == nullptr && action != Action::kZero;
}

bool Zeroer::needs_change(const Extent& extent, uint64_t offset, Action action) const {
  switch (extent.kind) {
    case ClusterKind::kUnallocated:
      if (action != Action::kZero && extent.entry.has_host()) return true;
      return action != Action::kDiscard && offset < image_.backing_bytes();
    case ClusterKind::kZero: return action != Action::kZero && extent.entry.has_host();
    default: return true;
  }
}

// Begins at a granule's first byte. Returns how far it came: 0 if the mapping is to be looked at
// again.
Task<Result<uint64_t>> Zeroer::change_clusters(uint64_t offset, uint64_t length, Action action) {
  const Geometry& geometry = image_.geometry;
  const std::optional<Extent> extent = image_.map.find(offset, length);
  if (!extent) {
    CO_TRY_VOID(co_await load_for_change(image_, offset));
    co_return 0;
  }
  if (extent->kind == ClusterKind::kInvalid)
    co_return std::unexpected(
        co_await image_.guard.mark_corrupt(image_.map.invalid_entry(offset, *extent)));
  const uint64_t first = geometry.cluster_of(offset);
  const uint64_t slice_end = geometry.offset_of((first | (geometry.l2_slice_entries() - 1)) + 1);
  const uint64_t end = std::min(slice_end, offset + extent->length);
  const uint64_t last = geometry.cluster_of(end - 1);
  // A write that is on its way into new clusters would bring back what is zeroed here; one into
  // other subclusters relies on the host cluster, which may go.
  if (WaitList* busy = image_.claims.find(granules_of_clusters(geometry, offset, end - offset))) {
    co_await busy->wait();
    co_return 0;
  }
  if (!needs_change(*extent, offset, action)) co_return end - offset;
  if (extent->kind == ClusterKind::kCompressed && !is_whole_cluster(offset, end)) {
    if (action != Action::kDiscard) CO_TRY_VOID(co_await write_zero_bytes(offset, end - offset));
    co_return end - offset;
  }
  if (!image_.map.is_ready(first)) {
    CO_TRY_VOID(co_await image_.map.make_ready(first));
    co_return 0;
  }
  for (uint64_t cluster = first; cluster <= last; ++cluster) {
    const L2Entry old = image_.map.entry(cluster);
    image_.map.set_entry(cluster, changed(old, subclusters_in(cluster, offset, end), action));
  }
  co_return end - offset;
}

bool Zeroer::is_whole_cluster(uint64_t offset, uint64_t end) const {
  const Geometry& geometry = image_.geometry;
  return geometry.offset_in_cluster(offset) == 0 &&
         (geometry.offset_in_cluster(end) == 0 || end == image_.size_bytes());
}

// Those of [begin, end), with all that lie past the end of the disk.
uint32_t Zeroer::subclusters_in(uint64_t cluster, uint64_t begin, uint64_t end) const {
  const Geometry& geometry = image_.geometry;
  if (!geometry.extended_l2) return kAllSubclusters;
  const uint64_t start = geometry.offset_of(cluster);
  const bool to_the_end = end >= start + geometry.cluster_bytes() || end == image_.size_bytes();
  return subcluster_mask(begin <= start ? 0 : geometry.subcluster_of(begin),
                         to_the_end ? kSubclusters : geometry.subcluster_of(end));
}

L2Entry Zeroer::changed(L2Entry entry, uint32_t subclusters, Action action) const {
  if (!image_.geometry.extended_l2) return changed_cluster(entry, action);
  if (entry.compressed()) entry = {};  // all of it
  const bool hides_nothing = image_.backing == nullptr && action == Action::kDiscard;
  const uint32_t allocated = entry.allocated() & ~subclusters;
  const uint32_t zeroed = (entry.zeros() & ~subclusters) | (hides_nothing ? 0 : subclusters);
  const bool keeps_host = allocated != 0 || (action == Action::kZero && entry.writable());
  return {keeps_host ? entry.value : 0, L2Entry::make_bitmap(allocated, zeroed), entry.external};
}

L2Entry Zeroer::changed_cluster(L2Entry entry, Action action) const {
  if (action == Action::kZero && entry.kind() != ClusterKind::kCompressed && entry.writable())
    return {entry.value | kZeroFlag, 0, entry.external};
  // A table without the zero flag says the same by nothing at all; so does an image without a
  // backing file.
  const bool hides_nothing = image_.backing == nullptr;
  if (hides_nothing && (action == Action::kDiscard || !image_.header->has_zero_flag()))
    return {0, 0, entry.external};
  return {kZeroFlag, 0, entry.external};
}

Task<Result<void>> Zeroer::write_zero_bytes(uint64_t offset, uint64_t length) {
  const std::optional<Extent> extent = image_.map.find(offset, length);
  if (extent && extent->length == length &&
      (extent->kind == ClusterKind::kZero ||
       (extent->kind == ClusterKind::kUnallocated && offset >= image_.backing_bytes())) &&
      image_.claims.find(granules_of(image_.geometry, offset, length)) == nullptr)
    co_return {};
  std::vector<iovec> buffers;
  for (uint64_t left = length; left != 0; left -= buffers.back().iov_len)
    buffers.push_back({zero_bytes.data(), std::min<uint64_t>(left, zero_bytes.size())});
  co_return co_await writer_.write(offset, buffers);
}

}  // namespace hull::blockcore::qcow2
