#include "blockcore/qcow2/writer.h"

#include <algorithm>

#include "base/checked.h"
#include "blockcore/iovecs.h"

namespace hull::blockcore::qcow2 {
namespace {

// What one read spares is worth more than reading this many bytes that will be overwritten.
constexpr uint64_t kMaxMiddleBytes = 16 << 10;

}  // namespace

Task<Result<void>> Writer::write(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  for (uint64_t done = 0; done < total;) {
    const std::optional<Extent> extent = image_.map.find(offset + done, total - done);
    if (!extent) {
      CO_TRY_VOID(co_await image_.map.load(offset + done));
    } else if (extent->kind == ClusterKind::kInvalid) {
      co_return std::unexpected(image_.map.invalid_entry(offset + done, *extent));
    } else if (extent->kind == ClusterKind::kNormal && extent->writable) {
      const InUse::Hold hold(image_.in_use);
      if (extent->length == total)
        co_return co_await image_.file->write(extent->host_offset, buffers);
      const IovecPart part(buffers, done, extent->length);
      CO_TRY_VOID(co_await image_.file->write(extent->host_offset, part.buffers()));
      done += extent->length;
    } else {
      CO_TRY(const uint64_t written, co_await write_new(offset + done, *extent, buffers, done));
      done += written;
    }
  }
  co_return {};
}

// Returns how much of the extent it wrote: 0 if it only waited and the mapping is to be looked at
// again.
Task<Result<uint64_t>> Writer::write_new(uint64_t offset, const Extent& extent,
                                         std::span<const iovec> buffers, uint64_t done) {
  const Geometry& geometry = image_.geometry;
  Placement placement;
  placement.offset = offset;
  placement.first_cluster = geometry.cluster_of(offset);
  // One slice of an L2 table at a time, so that all entries change together.
  const uint64_t slice_end =
      geometry.offset_of((placement.first_cluster | (geometry.l2_slice_entries() - 1)) + 1);
  placement.length = std::min(extent.length, slice_end - offset);
  const uint64_t last_cluster = geometry.cluster_of(offset + placement.length - 1);
  if (WaitList* busy = image_.claims.find(placement.first_cluster, last_cluster)) {
    co_await busy->wait();
    co_return 0;
  }
  // From here on nobody else changes what these clusters map to.
  const Claims::Claim claim(image_.claims, placement.first_cluster, last_cluster);
  placement.old_zero = reads_as_zero(extent, offset);
  CO_TRY_VOID(co_await place(placement, extent));
  const IovecPart part(buffers, done, placement.length);
  auto result = co_await fill(placement, part.buffers());
  if (result) result = co_await publish(placement);
  if (!result) {
    std::vector<HostRun> unused{placement.host};
    if (!placement.kept) (void)co_await image_.refcounts.release(std::move(unused), true);
    co_return std::unexpected(std::move(result).error());
  }
  co_return placement.length;
}

bool Writer::reads_as_zero(const Extent& extent, uint64_t offset) const {
  if (extent.kind == ClusterKind::kZero) return true;
  return extent.kind == ClusterKind::kUnallocated &&
         align_down(offset, image_.geometry.cluster_bytes()) >= image_.backing_bytes();
}

// Host clusters for the beginning of the extent; shortens the placement to what they hold.
Task<Result<void>> Writer::place(Placement& placement, const Extent& extent) {
  const Geometry& geometry = image_.geometry;
  const uint64_t in_cluster = geometry.offset_in_cluster(placement.offset);
  const uint64_t clusters = geometry.clusters_for(in_cluster + placement.length);
  if (extent.kind == ClusterKind::kZero && extent.writable) {
    placement.host = {geometry.cluster_of(extent.host_offset), clusters};
    placement.kept = true;
    co_return {};
  }
  // The table first: if there is no room for it, nothing has to be given back.
  while (!image_.map.is_ready(placement.first_cluster))
    CO_TRY_VOID(co_await image_.map.make_ready(placement.first_cluster));
  CO_TRY(const Refcounts::Allocation allocation, co_await image_.refcounts.allocate(clusters));
  placement.host = allocation.run;
  placement.fresh = allocation.fresh;
  placement.length =
      std::min(placement.length, geometry.offset_of(allocation.run.count) - in_cluster);
  co_return {};
}

// Data, and around it what the first and the last cluster held before, in one write.
Task<Result<void>> Writer::fill(const Placement& placement, std::span<const iovec> data) {
  const Geometry& geometry = image_.geometry;
  const uint64_t host_offset = geometry.offset_of(placement.host.first);
  const uint64_t head_bytes = geometry.offset_in_cluster(placement.offset);
  if (placement.fresh && placement.old_zero)
    co_return co_await image_.file->write(host_offset + head_bytes, data);

  const uint64_t end = head_bytes + placement.length;
  const uint64_t tail_bytes = geometry.offset_of(geometry.clusters_for(end)) - end;
  std::unique_ptr<std::byte[]> around;
  std::vector<iovec> buffers;
  buffers.reserve(data.size() + 2);
  if (head_bytes + tail_bytes != 0) {
    // Value-initialised: zeros.
    around = std::make_unique<std::byte[]>(head_bytes + tail_bytes);
    const std::span head(around.get(), head_bytes);
    const std::span tail(around.get() + head_bytes, tail_bytes);
    if (!placement.old_zero) CO_TRY_VOID(co_await read_around(placement, head, tail));
    if (head_bytes != 0) buffers.push_back({head.data(), head_bytes});
    buffers.insert(buffers.end(), data.begin(), data.end());
    if (tail_bytes != 0) buffers.push_back({tail.data(), tail_bytes});
  } else {
    buffers.assign(data.begin(), data.end());
  }
  co_return co_await image_.file->write(host_offset, buffers);
}

Task<Result<void>> Writer::read_around(const Placement& placement, std::span<std::byte> head,
                                       std::span<std::byte> tail) {
  const uint64_t start = image_.geometry.offset_of(placement.first_cluster);
  const uint64_t end = placement.offset + placement.length;
  if (head.empty() || tail.empty() || placement.length > kMaxMiddleBytes) {
    if (!head.empty()) CO_TRY_VOID(co_await reader_.read_for_copy(start, head));
    if (!tail.empty()) CO_TRY_VOID(co_await reader_.read_for_copy(end, tail));
    co_return {};
  }
  // At most kMaxMiddleBytes lie between: one read.
  std::vector<std::byte> whole(head.size() + placement.length + tail.size());
  CO_TRY_VOID(co_await reader_.read_for_copy(start, whole));
  std::copy_n(whole.begin(), head.size(), head.begin());
  std::copy_n(whole.end() - static_cast<ptrdiff_t>(tail.size()), tail.size(), tail.begin());
  co_return {};
}

Task<Result<void>> Writer::publish(const Placement& placement) {
  while (!image_.map.is_ready(placement.first_cluster))
    CO_TRY_VOID(co_await image_.map.make_ready(placement.first_cluster));
  for (uint64_t i = 0; i < placement.host.count; ++i) {
    const uint64_t host_offset = image_.geometry.offset_of(placement.host.first + i);
    image_.map.set_entry(placement.first_cluster + i, {host_offset | kCopiedFlag});
  }
  co_return {};
}

}  // namespace hull::blockcore::qcow2
