#include "blockcore/image/copy.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "base/check.h"
#include "base/checked.h"
#include "blockcore/async_mutex.h"
#include "blockcore/image/copy_chunk.h"
#include "blockcore/image/rate_limit.h"
#include "blockcore/qcow2/wait_list.h"
#include "blockcore/worker_pool.h"

namespace hull::blockcore {
namespace {

constexpr uint64_t kPlainChunkBytes = 2 << 20;
constexpr uint64_t kPackedChunkBytes = 1 << 20;
// Where blocks are shared, the length costs next to nothing.
constexpr uint64_t kOffloadedChunkBytes = 64 << 20;
constexpr uint64_t kSalvageBytes = 512;
constexpr size_t kBufferAlignment = 4096;  // for O_DIRECT without a bounce buffer

// A stretch of a chunk on its way into a compressed image.
struct PackPiece {
  uint64_t offset;               // in the chunk
  uint64_t length;               // bytes
  qcow2::CompressedBatch batch;  // empty: the data in the workspace is to be compressed
};

// What one of the chunks in flight needs.
struct Workspace {
  explicit Workspace(uint64_t bytes)
      : memory(std::make_unique_for_overwrite<std::byte[]>(bytes + kBufferAlignment)) {
    void* aligned = memory.get();
    size_t room = bytes + kBufferAlignment;
    data = static_cast<std::byte*>(std::align(kBufferAlignment, bytes, aligned, room));
  }
  std::unique_ptr<std::byte[]> memory;
  std::byte* data;
  std::vector<PackPiece> pieces;
  PackedChunk packed;
};

class Copier {
 public:
  Copier(Disk& source, Disk& target, const CopyOptions& options)
      : source_(source),
        target_(target),
        options_(options),
        pool_(options.compress_into == nullptr ? nullptr : options.workers) {
    // A limited rate is kept better in small steps.
    if (options.offload && options.bytes_per_second == 0) chunk_bytes_ = kOffloadedChunkBytes;
    if (pool_ == nullptr) return;
    const qcow2::Header& header = options.compress_into->header();
    cluster_bytes_ = header.geometry.cluster_bytes();
    chunk_bytes_ = std::max(kPackedChunkBytes, cluster_bytes_);
    for (unsigned i = 0; i < pool_->threads(); ++i) {
      compressors_.emplace_back(header.compression);
      decompressors_.emplace_back(header.compression);
    }
    format_ = {header.geometry.cluster_bits, header.compression};
    takes_streams_ = options.streams_from != nullptr &&
                     options.streams_from->header().compression == format_.type &&
                     options.streams_from->header().geometry.cluster_bits == format_.cluster_bits &&
                     (to_target(0) & (cluster_bytes_ - 1)) == 0;
  }

  Task<Result<void>> run() {
    const uint64_t most = kCopyMemoryBytes / (buffer_bytes() * (cluster_bytes_ != 0 ? 2 : 1));
    const uint64_t wanted =
        pool_ == nullptr ? options_.chunks_in_flight : 2 * uint64_t{pool_->threads()} + 2;
    running_ = std::clamp<uint64_t>(wanted, 1, most);
    for (uint64_t i = running_; i != 0; --i) start_detached(work());
    while (running_ != 0) co_await finished_.wait();
    co_return std::move(result_);
  }

 private:
  struct Chunk {
    uint64_t number = 0;
    uint64_t position = 0;  // in the source
    uint64_t length = 0;    // 0: there are no more
    bool zero = false;
  };

  // Of each chunk in flight.
  uint64_t buffer_bytes() const { return pool_ == nullptr ? kPlainChunkBytes : chunk_bytes_; }
  bool in_order() const { return options_.in_order || pool_ != nullptr; }
  uint64_t end() const { return options_.source_offset + options_.length; }
  uint64_t to_target(uint64_t position) const {
    return position - options_.source_offset + options_.target_offset;
  }
  // Zeros, compressed clusters and what the target's backing file has count in these.
  uint64_t unit() const {
    return cluster_bytes_ != 0 ? cluster_bytes_ : std::max<uint64_t>(options_.target_unit_bytes, 1);
  }
  uint64_t unit_end(uint64_t position) const {
    return align_down(to_target(position), unit()) + unit() - to_target(position) + position;
  }

  Task<void> work() {
    Workspace space(buffer_bytes());
    while (result_) {
      const Result<Chunk> chunk = co_await next();
      if (!chunk) fail_with(chunk.error());
      if (!chunk || chunk->length == 0) break;
      auto copied = co_await copy(*chunk, space);
      if (!copied) fail_with(copied.error());
      // Also after a failure: others wait for their turn.
      if (in_order()) {
        while (turn_ != chunk->number) co_await turns_.wait();
        ++turn_;
        turns_.wake_all();
      }
      moved_ += chunk->zero ? 0 : chunk->length;
      report(chunk->length);
    }
    if (--running_ == 0) finished_.wake_all();
  }

  void fail_with(const Error& error) {
    if (result_) result_ = std::unexpected(error);
  }

  void report(uint64_t length) {
    done_ += length;
    if (options_.progress) options_.progress(done_);
    rate_.wait_for(moved_);
  }

  // The next chunk that is to be written, in the order of the source.
  Task<Result<Chunk>> next() {
    const AsyncMutex::Guard guard = co_await scanning_.lock();
    Chunk chunk;
    while (cursor_ < end()) {
      Kind kind = Kind::kData;
      uint64_t kind_end = end();
      if (options_.sparse_bytes != 0) CO_TRY_VOID(co_await look(kind, kind_end));
      if (chunk.length != 0 && kind != Kind::kData) break;
      if (kind == Kind::kNothing) {
        report(kind_end - cursor_);
        cursor_ = kind_end;
        continue;
      }
      if (chunk.length == 0)
        chunk = {.number = chunks_, .position = cursor_, .zero = kind == Kind::kZero};
      if (kind == Kind::kData) kind_end = std::min(kind_end, chunk_end(chunk.position));
      cursor_ = kind_end;
      chunk.length = cursor_ - chunk.position;
      if (chunk.zero || cursor_ == chunk_end(chunk.position)) break;
    }
    if (chunk.length != 0) ++chunks_;
    co_return chunk;
  }

  // Chunks end at multiples of their size in the target.
  uint64_t chunk_end(uint64_t position) const {
    const uint64_t into = to_target(position) & (chunk_bytes_ - 1);
    return std::min(end(), position + chunk_bytes_ - into);
  }

  enum class Kind : uint8_t { kData, kZero, kNothing };

  // What begins at the cursor, in whole units.
  Task<Result<void>> look(Kind& kind, uint64_t& kind_end) {
    CO_TRY(const BlockStatus status, co_await source_.block_status(cursor_, end() - cursor_));
    const uint64_t alike_end = cursor_ + status.length;
    if (status.depth >= options_.shared_depth)
      kind = Kind::kNothing;
    else if (status.zero || !status.data)
      kind = options_.target_is_zero ? Kind::kNothing : Kind::kZero;
    if (alike_end == end()) {
      kind_end = end();
      co_return {};
    }
    const uint64_t last_unit = to_target(alike_end) & (unit() - 1);
    if (kind != Kind::kData && alike_end - cursor_ > last_unit) {
      kind_end = alike_end - last_unit;
    } else {
      kind = Kind::kData;
      kind_end = std::min(end(), last_unit == 0 ? alike_end : unit_end(alike_end));
    }
    co_return {};
  }

  Task<Result<void>> copy(const Chunk& chunk, Workspace& space) {
    if (chunk.zero) {
      if (in_order()) co_await my_turn(chunk);
      co_return (co_await target_.write_zeroes(to_target(chunk.position), chunk.length, true))
          .with_context(fmt::format("error while writing at byte {}", to_target(chunk.position)));
    }
    if (pool_ != nullptr) {
      CO_TRY_VOID(co_await pack(chunk, space));
      co_await my_turn(chunk);
      co_return co_await write_packed(chunk, space);
    }
    if (offloads_ || chunk.length > kPlainChunkBytes) co_return co_await copy_pieces(chunk, space);
    CO_TRY_VOID(co_await read(chunk.position, {space.data, chunk.length}));
    if (in_order()) co_await my_turn(chunk);
    co_return co_await write_plain(chunk.position, {space.data, chunk.length});
  }

  // The kernel's copies wait for nobody: a host file is the same in any order.
  Task<Result<void>> copy_pieces(const Chunk& chunk, Workspace& space) {
    for (uint64_t done = 0; done < chunk.length;) {
      const uint64_t position = chunk.position + done;
      uint64_t length = chunk.length - done;
      CO_TRY(const uint64_t copied, co_await offload(position, length));
      done += copied;
      if (copied != 0) continue;
      length = std::min(length, kPlainChunkBytes);
      CO_TRY_VOID(co_await read(position, {space.data, length}));
      if (in_order()) co_await my_turn(chunk);
      CO_TRY_VOID(co_await write_plain(position, {space.data, length}));
      done += length;
    }
    co_return {};
  }

  // How many bytes the kernel has copied. 0: the beginning has to be read and written, where an
  // error says what is wrong; `length` is then what is in no file as it is, or all of it.
  Task<Result<uint64_t>> offload(uint64_t position, uint64_t& length) {
    if (!offloads_) co_return 0;
    CO_TRY(const BlockStatus status, co_await source_.block_status(position, length));
    length = status.length;
    if (!status.data || status.file == nullptr) co_return 0;
    const Result<uint64_t> copied = co_await target_.copy_from(*status.file, *status.host_offset,
                                                               to_target(position), status.length);
    if (copied) co_return *copied;
    if (copied.error().kind() == ErrorKind::kUnsupported) stop_offloading();
    co_return 0;
  }

  void stop_offloading() {
    offloads_ = false;
    chunk_bytes_ = kPlainChunkBytes;
  }

  Task<void> my_turn(const Chunk& chunk) {
    while (turn_ != chunk.number) co_await turns_.wait();
  }

  Task<Result<void>> read(uint64_t position, std::span<std::byte> data) {
    const iovec buffer{data.data(), data.size()};
    auto got = co_await source_.read(position, {&buffer, 1});
    if (got) co_return {};
    if (!options_.salvage)
      co_return std::move(got).with_context(
          fmt::format("error while reading at byte {}", position));
    for (uint64_t done = 0; done < data.size(); done += kSalvageBytes) {
      const uint64_t now = std::min(kSalvageBytes, data.size() - done);
      const iovec piece{data.data() + done, now};
      got = co_await source_.read(position + done, {&piece, 1});
      if (got) continue;
      std::fill_n(data.data() + done, now, std::byte{});
      if (options_.unreadable) options_.unreadable(position + done, got.error());
    }
    co_return {};
  }

  Task<Result<void>> write_plain(uint64_t position, std::span<std::byte> data) {
    const uint64_t target = to_target(position);
    std::vector<ChunkPart> parts{{.offset = 0, .length = data.size(), .zero = false}};
    if (options_.sparse_bytes != 0 && options_.look_for_zeros)
      parts = split_zeros(data, target, std::max(unit(), options_.sparse_bytes));
    for (const ChunkPart& part : parts) {
      if (part.zero && options_.target_is_zero) continue;
      const iovec buffer{data.data() + part.offset, part.length};
      auto writing = part.zero ? target_.write_zeroes(target + part.offset, part.length, true)
                               : target_.write(target + part.offset, {&buffer, 1});
      auto written = co_await std::move(writing);
      if (!written)
        co_return std::move(written).with_context(
            fmt::format("error while writing at byte {}", target + part.offset));
    }
    co_return {};
  }

  // What the chunk is made of, as streams.
  Task<Result<void>> pack(const Chunk& chunk, Workspace& space) {
    space.pieces.clear();
    for (uint64_t done = 0; done < chunk.length; done += space.pieces.back().length)
      CO_TRY_VOID(co_await read_piece(chunk, done, space));
    if (co_await pack_pieces(chunk, space)) co_return {};
    // A stream that cannot be taken is read as any other data, and what is wrong is said there.
    space.pieces.clear();
    CO_TRY_VOID(co_await read(chunk.position, {space.data, chunk.length}));
    space.pieces.push_back({.offset = 0, .length = chunk.length, .batch = {}});
    (void)co_await pack_pieces(chunk, space);
    co_return {};
  }

  Task<Result<void>> read_piece(const Chunk& chunk, uint64_t offset, Workspace& space) {
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
      CO_TRY_VOID(co_await read(position, {space.data + offset, piece.length}));
    space.pieces.push_back(std::move(piece));
    co_return {};
  }

  // A cluster, and what follows it as far as it is not compressed.
  Task<Result<uint64_t>> plain_length(uint64_t position, uint64_t most) {
    uint64_t length = std::min(cluster_bytes_, most);
    while (length < most) {
      CO_TRY(const BlockStatus status,
             co_await source_.block_status(position + length, most - length));
      if (status.compressed) break;
      length = std::min(align_up(length + status.length, cluster_bytes_), most);
    }
    co_return length;
  }

  // False: one of the source's streams cannot be taken.
  Task<bool> pack_pieces(const Chunk& chunk, Workspace& space) {
    const uint64_t target = to_target(chunk.position);
    bool packed = true;
    co_await pool_->run([this, &chunk, &space, target, &packed](unsigned worker) {
      space.packed.clear(align_up(chunk.length, cluster_bytes_));
      for (const PackPiece& piece : space.pieces) {
        const uint64_t position = target + piece.offset;
        if (piece.batch.clusters.empty())
          space.packed.pack(compressors_[worker], {space.data + piece.offset, piece.length},
                            position, cluster_bytes_);
        else
          packed = packed &&
                   space.packed.take(decompressors_[worker], piece.batch, position, cluster_bytes_);
      }
    });
    co_return packed;
  }

  Task<Result<void>> write_packed(const Chunk& chunk, Workspace& space) {
    const uint64_t target = to_target(chunk.position);
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
    co_return std::move(written).with_context(
        fmt::format("error while writing at byte {}", target));
  }

  Disk& source_;
  Disk& target_;
  const CopyOptions& options_;
  WorkerPool* const pool_;  // null: nothing is compressed
  uint64_t chunk_bytes_ = kPlainChunkBytes;
  uint64_t cluster_bytes_ = 0;  // of the target, if it is compressed
  bool takes_streams_ = false;
  bool offloads_ = options_.offload && pool_ == nullptr;
  qcow2::StreamFormat format_{};                    // of the target, if it is compressed
  std::vector<qcow2::Compressor> compressors_;      // one for each thread
  std::vector<qcow2::Decompressor> decompressors_;  // the same
  const RateLimit rate_{options_.bytes_per_second};

  AsyncMutex scanning_;
  uint64_t cursor_ = options_.source_offset;
  uint64_t chunks_ = 0;
  uint64_t turn_ = 0;
  uint64_t done_ = 0;
  uint64_t moved_ = 0;  // of them, what was data
  uint64_t running_ = 0;
  qcow2::WaitList turns_;
  qcow2::WaitList finished_;
  Result<void> result_;
};

}  // namespace

Task<Result<void>> copy_disk(Disk& source, Disk& target, CopyOptions options) {
  CHECK(range_fits(options.source_offset, options.length, source.size_bytes()) &&
        range_fits(options.target_offset, options.length, target.size_bytes()));
  CHECK(options.compress_into == nullptr || options.workers != nullptr);
  Copier copier(source, target, options);
  co_return co_await copier.run();
}

}  // namespace hull::blockcore
