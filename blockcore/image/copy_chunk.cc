#include "blockcore/image/copy_chunk.h"

#include <algorithm>

#include "base/checked.h"
#include "blockcore/iovecs.h"

namespace hull::blockcore {
namespace {

bool all_zero(std::span<const std::byte> data) {
  const iovec buffer{const_cast<std::byte*>(data.data()), data.size()};
  return is_zero({&buffer, 1});
}

}  // namespace

std::vector<ChunkPart> split_zeros(std::span<const std::byte> data, uint64_t position,
                                   uint64_t unit) {
  std::vector<ChunkPart> parts;
  for (uint64_t offset = 0; offset < data.size();) {
    const uint64_t unit_end = align_down(position + offset, unit) + unit - position;
    const uint64_t end = std::min<uint64_t>(unit_end, data.size());
    const bool zero = all_zero(data.subspan(offset, end - offset));
    if (!parts.empty() && parts.back().zero == zero)
      parts.back().length += end - offset;
    else
      parts.push_back({offset, end - offset, zero});
    offset = end;
  }
  return parts;
}

void PackedChunk::clear() {
  streams_.clear();
  zeros_.clear();
  incompressible_.clear();
}

void PackedChunk::pack(qcow2::Compressor& compressor, std::span<const std::byte> data,
                       uint64_t position, uint64_t cluster_bytes) {
  const uint64_t needed = align_up<uint64_t>(data.size(), cluster_bytes);
  if (buffer_bytes_ < needed) {
    buffer_ = std::make_unique_for_overwrite<std::byte[]>(needed);
    buffer_bytes_ = needed;
  }
  uint64_t used = 0;
  for (uint64_t offset = 0; offset < data.size(); offset += cluster_bytes) {
    std::span<const std::byte> cluster =
        data.subspan(offset, std::min<uint64_t>(cluster_bytes, data.size() - offset));
    if (all_zero(cluster)) {
      zeros_.push_back(position + offset);
      continue;
    }
    if (cluster.size() < cluster_bytes) {
      last_.assign(cluster.begin(), cluster.end());
      last_.resize(cluster_bytes);
      cluster = last_;
    }
    // One byte less than the cluster: a stream of its size would gain nothing.
    const std::span<std::byte> out(buffer_.get() + used, cluster_bytes - 1);
    const size_t length = compressor.compress(cluster, out);
    if (length == 0) {
      incompressible_.push_back(position + offset);
    } else {
      streams_.push_back({position + offset, out.first(length)});
      used += length;
    }
  }
}

}  // namespace hull::blockcore
