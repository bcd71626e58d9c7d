#include "blockcore/image/copy_pack.h"

#include <algorithm>

#include "base/checked.h"
#include "blockcore/engine/worker_pool.h"

namespace hull::blockcore {
namespace {

constexpr size_t kBufferAlignment = 4096;

qcow2::StreamFormat stream_format(const qcow2::Header& header) {
  return {header.geometry.cluster_bits, header.compression};
}

}  // namespace

CopyWorkspace::CopyWorkspace(uint64_t bytes)
    : memory(std::make_unique_for_overwrite<std::byte[]>(bytes + kBufferAlignment)) {
  void* aligned = memory.get();
  size_t room = bytes + kBufferAlignment;
  data = static_cast<std::byte*>(std::align(kBufferAlignment, bytes, aligned, room));
}

ChunkPacker::ChunkPacker(CopySource& source, Disk& target, const CopyOptions& options)
    : source_(source),
      target_(target),
      options_(options),
      format_(stream_format(options.compress_into->header())),
      cluster_bytes_(uint64_t{1} << format_.cluster_bits),
      takes_streams_(options.streams_from != nullptr &&
                     stream_format(options.streams_from->header()) == format_ &&
                     (options.to_target(0) & (cluster_bytes_ - 1)) == 0) {
  for (unsigned i = 0; i < options.workers->threads(); ++i) {
    compressors_.emplace_back(format_.type);
    decompressors_.emplace_back(format_.type);
  }
}

Task<Result<void>> ChunkPacker::pack(const CopyChunk& chunk, CopyWorkspace& space) {
  space.pieces.clear();
  for (uint64_t done = 0; done < chunk.length; done += space.pieces.back().length)
    CO_TRY_VOID(co_await read_piece(chunk, done, space));
  if (co_await pack_pieces(chunk, space)) co_return {};
  // A stream that cannot be taken is read as any other data, and what is wrong is said there.
  space.pieces.clear();
  CO_TRY_VOID(co_await source_.read(chunk.position, {space.data, chunk.length}));
  space.pieces.push_back({.offset = 0, .length = chunk.length, .batch = {}});
  (void)co_await pack_pieces(chunk, space);
  co_return {};
}

Task<Result<void>> ChunkPacker::read_piece(const CopyChunk& chunk, uint64_t offset,
                                           CopyWorkspace& space) {
  const uint64_t position = chunk.position + offset;
  const uint64_t rest = chunk.length - offset;
  PackPiece piece{.offset = offset, .length = rest, .batch = {}};
  if (takes_streams_) {
    CO_TRY(piece.batch, co_await options_.streams_from->load_compressed(position, rest, format_));
    piece.length = piece.batch.clusters.size() * cluster_bytes_;
    if (piece.length == 0) {
      CO_TRY(piece.length, co_await plain_length(position, rest));
    }
  }
  if (piece.batch.clusters.empty())
    CO_TRY_VOID(co_await source_.read(position, {space.data + offset, piece.length}));
  space.pieces.push_back(std::move(piece));
  co_return {};
}

// A cluster, and what follows it as far as it is not compressed.
Task<Result<uint64_t>> ChunkPacker::plain_length(uint64_t position, uint64_t most) {
  uint64_t length = std::min(cluster_bytes_, most);
  while (length < most) {
    CO_TRY(const BlockStatus status,
           co_await source_.disk().block_status(position + length, most - length));
    if (status.compressed) break;
    length = std::min(align_up(length + status.length, cluster_bytes_), most);
  }
  co_return length;
}

// False: one of the source's streams cannot be taken.
Task<bool> ChunkPacker::pack_pieces(const CopyChunk& chunk, CopyWorkspace& space) {
  const uint64_t target = options_.to_target(chunk.position);
  bool packed = true;
  co_await options_.workers->run([this, &chunk, &space, target, &packed](unsigned worker) {
    space.packed.clear(align_up(chunk.length, cluster_bytes_), options_.sparse_bytes == 0);
    for (const PackPiece& piece : space.pieces) {
      const uint64_t position = target + piece.offset;
      if (piece.batch.clusters.empty())
        space.packed.pack(compressors_[worker], {space.data + piece.offset, piece.length}, position,
                          cluster_bytes_);
      else
        packed = packed &&
                 space.packed.take(decompressors_[worker], piece.batch, position, cluster_bytes_);
    }
  });
  co_return packed;
}

Task<Result<void>> ChunkPacker::write(const CopyChunk& chunk, CopyWorkspace& space) {
  const uint64_t target = options_.to_target(chunk.position);
  auto written = co_await options_.compress_into->write_compressed(space.packed.streams());
  for (const uint64_t offset : space.packed.incompressible()) {
    if (!written) break;
    const iovec cluster{space.data + (offset - target),
                        std::min(cluster_bytes_, chunk.length - (offset - target))};
    written = co_await target_.write(offset, {&cluster, 1});
  }
  for (const uint64_t offset : space.packed.zeros()) {
    if (!written || options_.target_is_zero) break;
    const uint64_t length = std::min(cluster_bytes_, chunk.length - (offset - target));
    written = co_await target_.write_zeroes(offset, length, true);
  }
  co_return std::move(written).with_context(fmt::format("error while writing at byte {}", target));
}

}  // namespace hull::blockcore
