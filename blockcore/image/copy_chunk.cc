#include "blockcore/image/copy_chunk.h"

#include <algorithm>

#include "base/check.h"
#include "base/checked.h"
#include "blockcore/engine/iovecs.h"

namespace hull::blockcore {

std::vector<ChunkPart> split_zeros(std::span<const std::byte> data, uint64_t position,
                                   uint64_t unit) {
  std::vector<ChunkPart> parts;
  for (uint64_t offset = 0; offset < data.size();) {
    const uint64_t unit_end = align_down(position + offset, unit) + unit - position;
    const uint64_t end = std::min<uint64_t>(unit_end, data.size());
    const bool zero = is_zero(data.subspan(offset, end - offset));
    if (!parts.empty() && parts.back().zero == zero)
      parts.back().length += end - offset;
    else
      parts.push_back({offset, end - offset, zero});
    offset = end;
  }
  return parts;
}

void PackedChunk::clear(uint64_t data_bytes, bool keep_zeros) {
  keep_zeros_ = keep_zeros;
  if (buffer_bytes_ < data_bytes) {
    buffer_ = std::make_unique_for_overwrite<std::byte[]>(data_bytes);
    buffer_bytes_ = data_bytes;
  }
  used_ = 0;
  streams_.clear();
  zeros_.clear();
  incompressible_.clear();
}

void PackedChunk::pack(qcow2::Compressor& compressor, std::span<const std::byte> data,
                       uint64_t position, uint64_t cluster_bytes) {
  for (uint64_t offset = 0; offset < data.size(); offset += cluster_bytes) {
    std::span<const std::byte> cluster =
        data.subspan(offset, std::min<uint64_t>(cluster_bytes, data.size() - offset));
    if (!keep_zeros_ && is_zero(cluster)) {
      zeros_.push_back(position + offset);
      continue;
    }
    if (cluster.size() < cluster_bytes) {
      cluster_.assign(cluster.begin(), cluster.end());
      cluster_.resize(cluster_bytes);
      cluster = cluster_;
    }
    CHECK(used_ + cluster_bytes <= buffer_bytes_);
    // One byte less than the cluster: a stream of its size would gain nothing.
    const std::span<std::byte> out(buffer_.get() + used_, cluster_bytes - 1);
    const size_t length = compressor.compress(
        cluster, out, qcow2::Compressor::effort_for((position + offset) / cluster_bytes));
    if (length == 0) {
      incompressible_.push_back(position + offset);
    } else {
      streams_.push_back({position + offset, out.first(length)});
      used_ += length;
    }
  }
}

bool PackedChunk::take(qcow2::Decompressor& decompressor, const qcow2::CompressedBatch& batch,
                       uint64_t position, uint64_t cluster_bytes) {
  cluster_.resize(cluster_bytes);
  for (const qcow2::CompressedBatch::Cluster& one : batch.clusters) {
    const std::span<const std::byte> stream = batch.stream(one);
    const auto length = decompressor.decompress(stream, cluster_);
    if (!length || *length > cluster_bytes) return false;
    if (!keep_zeros_ && is_zero(cluster_))
      zeros_.push_back(position);
    else
      streams_.push_back({position, stream.first(*length)});
    position += cluster_bytes;
  }
  return true;
}

}  // namespace hull::blockcore
