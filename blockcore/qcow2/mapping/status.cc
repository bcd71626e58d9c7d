#include "blockcore/qcow2/mapping/status.h"

#include <algorithm>

#include "base/checked.h"

namespace hull::blockcore::qcow2 {
namespace {

// Clusters that were preallocated and never written are holes in the file, which read as zeros.
Result<BlockStatus> status_of_data(const Image& image, const Extent& extent) {
  BlockStatus status{.length = extent.length,
                     .data = true,
                     .present = true,
                     .host_offset = extent.host_offset,
                     .path = image.data().path(),
                     .file = &image.data()};
  if (image.encrypted != nullptr) {
    // Nobody finds the data there as it is.
    status.host_offset.reset();
    status.path = {};
    status.file = nullptr;
    return status;
  }
  const FileRange range = TRY(image.data().range_at(extent.host_offset));
  // A cluster that is stored in part counts as stored.
  const uint64_t cluster_bytes = image.geometry.cluster_bytes();
  const uint64_t end = range.length < extent.length ? extent.host_offset + range.length
                                                    : extent.host_offset + extent.length;
  const uint64_t whole_end =
      range.hole ? align_down(end, cluster_bytes) : align_up(end, cluster_bytes);
  const bool whole_extent = end == extent.host_offset + extent.length;
  if (range.hole && (whole_extent || whole_end > extent.host_offset)) status.zero = true;
  if (!whole_extent && whole_end > extent.host_offset)
    status.length = std::min(extent.length, whole_end - extent.host_offset);
  return status;
}

Task<Result<BlockStatus>> status_below(Image& image, uint64_t offset, uint64_t length) {
  const uint64_t backing_bytes = image.backing_bytes();
  if (offset >= backing_bytes) co_return BlockStatus{.length = length, .zero = true};
  CO_TRY(BlockStatus status,
         co_await image.backing->block_status(offset, std::min(length, backing_bytes - offset)));
  ++status.depth;
  co_return status;
}

}  // namespace

Task<Result<BlockStatus>> block_status(Image& image, uint64_t offset, uint64_t length) {
  std::optional<Extent> extent = image.map.find(offset, length);
  while (!extent) {
    CO_TRY_VOID(co_await image.map.load(offset));
    extent = image.map.find(offset, length);
  }
  switch (extent->kind) {
    case ClusterKind::kUnallocated: co_return co_await status_below(image, offset, extent->length);
    case ClusterKind::kZero: {
      BlockStatus status{.length = extent->length, .zero = true, .present = true};
      if (extent->entry.writable() && image.encrypted == nullptr) {
        status.host_offset = extent->host_offset;
        status.path = image.data().path();
      }
      co_return status;
    }
    case ClusterKind::kNormal: co_return status_of_data(image, *extent);
    case ClusterKind::kCompressed:
      co_return BlockStatus{
          .length = extent->length, .data = true, .present = true, .compressed = true};
    case ClusterKind::kInvalid: break;
  }
  co_return std::unexpected(image.map.invalid_entry(offset, *extent));
}

}  // namespace hull::blockcore::qcow2
