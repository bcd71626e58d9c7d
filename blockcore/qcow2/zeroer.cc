#include "blockcore/qcow2/zeroer.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/checked.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr size_t kZeroBytes = 64 << 10;
alignas(4096) constinit std::array<std::byte, kZeroBytes> zeros{};

// Zeros without a buffer of their size.
constexpr uint64_t kMaxZeroWrite = 4 << 20;

}  // namespace

Task<Result<void>> Zeroer::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
  const Geometry& geometry = image_.geometry;
  const Action action = may_unmap ? Action::kZeroAndUnmap : Action::kZero;
  const uint64_t end = offset + length;
  // The last cluster counts as whole if the disk ends in it.
  const uint64_t whole_end =
      end == image_.size_bytes() ? end : align_down(end, geometry.cluster_bytes());
  while (offset < end) {
    if (committer_.is_due()) CO_TRY_VOID(co_await committer_.commit());
    const bool whole = geometry.offset_in_cluster(offset) == 0 && offset < whole_end;
    if (whole && can_change(action)) {
      CO_TRY(const uint64_t done, co_await change_clusters(offset, whole_end - offset, action));
      offset += done;
    } else {
      const uint64_t cluster_end =
          align_down(offset, geometry.cluster_bytes()) + geometry.cluster_bytes();
      const uint64_t part_end = std::min(end, whole ? offset + kMaxZeroWrite : cluster_end);
      CO_TRY_VOID(co_await write_zero_bytes(offset, part_end - offset));
      offset = part_end;
    }
  }
  co_return {};
}

Task<Result<void>> Zeroer::discard(uint64_t offset, uint64_t length) {
  const Geometry& geometry = image_.geometry;
  const uint64_t end = offset + length == image_.size_bytes()
                           ? offset + length
                           : align_down(offset + length, geometry.cluster_bytes());
  offset = align_up(offset, geometry.cluster_bytes());
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
  if (image_.header->has_zero_flag()) return true;
  return image_.backing == nullptr && action != Action::kZero;
}

bool Zeroer::needs_change(const Extent& extent, uint64_t offset, Action action) const {
  switch (extent.kind) {
    case ClusterKind::kUnallocated:
      return action != Action::kDiscard && offset < image_.backing_bytes();
    case ClusterKind::kZero: return action != Action::kZero && extent.entry.host_offset() != 0;
    default: return true;
  }
}

// Begins at a cluster's first byte. Returns how far it came: 0 if the mapping is to be looked at
// again.
Task<Result<uint64_t>> Zeroer::change_clusters(uint64_t offset, uint64_t length, Action action) {
  const Geometry& geometry = image_.geometry;
  const std::optional<Extent> extent = image_.map.find(offset, length);
  if (!extent) {
    CO_TRY_VOID(co_await image_.map.load(offset));
    co_return 0;
  }
  if (extent->kind == ClusterKind::kInvalid)
    co_return std::unexpected(image_.map.invalid_entry(offset, *extent));
  const uint64_t first = geometry.cluster_of(offset);
  const uint64_t slice_end = (first | (geometry.l2_slice_entries() - 1)) + 1;
  const uint64_t end = std::min(slice_end, first + geometry.clusters_for(extent->length));
  // A write that is on its way into new clusters would bring back what is zeroed here.
  if (WaitList* busy = image_.claims.find(first, end - 1)) {
    co_await busy->wait();
    co_return 0;
  }
  const uint64_t done = std::min(geometry.offset_of(end - first), extent->length);
  if (!needs_change(*extent, offset, action)) co_return done;
  if (!image_.map.is_ready(first)) {
    CO_TRY_VOID(co_await image_.map.make_ready(first));
    co_return 0;
  }
  for (uint64_t cluster = first; cluster < end; ++cluster)
    image_.map.set_entry(cluster, changed(image_.map.entry(cluster), action));
  co_return done;
}

L2Entry Zeroer::changed(L2Entry entry, Action action) const {
  if (action == Action::kZero && entry.kind() != ClusterKind::kCompressed && entry.writable())
    return {entry.value | kZeroFlag};
  // A table without the zero flag says the same by nothing at all; so does an image without a
  // backing file.
  const bool hides_nothing = image_.backing == nullptr;
  if (hides_nothing && (action == Action::kDiscard || !image_.header->has_zero_flag())) return {};
  return {kZeroFlag};
}

Task<Result<void>> Zeroer::write_zero_bytes(uint64_t offset, uint64_t length) {
  const std::optional<Extent> extent = image_.map.find(offset, length);
  if (extent && extent->length == length &&
      (extent->kind == ClusterKind::kZero ||
       (extent->kind == ClusterKind::kUnallocated && offset >= image_.backing_bytes())) &&
      image_.claims.find(image_.geometry.cluster_of(offset),
                         image_.geometry.cluster_of(offset + length - 1)) == nullptr)
    co_return {};
  std::vector<iovec> buffers;
  for (uint64_t left = length; left != 0; left -= buffers.back().iov_len)
    buffers.push_back({zeros.data(), std::min<uint64_t>(left, kZeroBytes)});
  co_return co_await writer_.write(offset, buffers);
}

}  // namespace hull::blockcore::qcow2
