#include "blockcore/image/copy.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/check.h"
#include "base/checked.h"
#include "blockcore/async/wait_list.h"
#include "blockcore/engine/worker_pool.h"
#include "blockcore/image/copy_chunk.h"
#include "blockcore/image/copy_pack.h"
#include "blockcore/image/copy_source.h"

namespace hull::blockcore {
namespace {

constexpr uint64_t kPlainChunkBytes = 2 << 20;
constexpr uint64_t kPackedChunkBytes = 1 << 20;
// Where blocks are shared, the length costs next to nothing.
constexpr uint64_t kOffloadedChunkBytes = 64 << 20;

uint64_t cluster_bytes(const CopyOptions& options) {
  return options.compress_into->header().geometry.cluster_bytes();
}

// Zeros, compressed clusters and what the target's backing file has count in these.
uint64_t unit_bytes(const CopyOptions& options) {
  return options.compress_into != nullptr ? cluster_bytes(options)
                                          : std::max<uint64_t>(options.target_unit_bytes, 1);
}

uint64_t chunk_bytes(const CopyOptions& options) {
  if (options.compress_into != nullptr) return std::max(kPackedChunkBytes, cluster_bytes(options));
  // A limited rate is kept better in small steps.
  return options.offload && options.bytes_per_second == 0 ? kOffloadedChunkBytes : kPlainChunkBytes;
}

// Of each chunk in flight.
uint64_t buffer_bytes(const CopyOptions& options) {
  return options.compress_into != nullptr ? chunk_bytes(options) : kPlainChunkBytes;
}

class Copier {
 public:
  Copier(Disk& source, Disk& target, const CopyOptions& options)
      : target_(target),
        options_(options),
        progress_(options),
        source_(source, options, unit_bytes(options), chunk_bytes(options), progress_),
        offloads_(options.offload && options.compress_into == nullptr) {
    if (options.compress_into != nullptr) packer_.emplace(source_, target, options);
  }

  Task<Result<void>> run() {
    // A chunk that is compressed is there twice.
    const uint64_t most = kCopyMemoryBytes / (buffer_bytes(options_) * (packer_ ? 2 : 1));
    const uint64_t wanted =
        packer_ ? 2 * uint64_t{options_.workers->threads()} + 2 : options_.chunks_in_flight;
    running_ = std::clamp<uint64_t>(wanted, 1, most);
    for (uint64_t i = running_; i != 0; --i) start_detached(work());
    while (running_ != 0) co_await finished_.wait();
    co_return std::move(result_);
  }

 private:
  bool in_order() const { return options_.in_order || packer_; }

  Task<void> work() {
    CopyWorkspace space(buffer_bytes(options_));
    while (result_) {
      const Result<CopyChunk> chunk = co_await source_.next();
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
      progress_.add(chunk->length, chunk->zero ? 0 : chunk->length);
    }
    if (--running_ == 0) finished_.wake_all();
  }

  void fail_with(const Error& error) {
    if (result_) result_ = std::unexpected(error);
  }

  Task<Result<void>> copy(const CopyChunk& chunk, CopyWorkspace& space) {
    if (chunk.zero) {
      if (in_order()) co_await my_turn(chunk);
      co_return (
          co_await target_.write_zeroes(options_.to_target(chunk.position), chunk.length, true))
          .with_context(
              fmt::format("error while writing at byte {}", options_.to_target(chunk.position)));
    }
    if (packer_) {
      CO_TRY_VOID(co_await packer_->pack(chunk, space));
      co_await my_turn(chunk);
      co_return co_await packer_->write(chunk, space);
    }
    if (offloads_ || chunk.length > kPlainChunkBytes) co_return co_await copy_pieces(chunk, space);
    CO_TRY_VOID(co_await source_.read(chunk.position, {space.data, chunk.length}));
    if (in_order()) co_await my_turn(chunk);
    co_return co_await write_plain(chunk.position, {space.data, chunk.length});
  }

  // The kernel's copies wait for nobody: a host file is the same in any order.
  Task<Result<void>> copy_pieces(const CopyChunk& chunk, CopyWorkspace& space) {
    for (uint64_t done = 0; done < chunk.length;) {
      const uint64_t position = chunk.position + done;
      uint64_t length = chunk.length - done;
      CO_TRY(const uint64_t copied, co_await offload(position, length));
      done += copied;
      if (copied != 0) continue;
      length = std::min(length, kPlainChunkBytes);
      CO_TRY_VOID(co_await source_.read(position, {space.data, length}));
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
    CO_TRY(const BlockStatus status, co_await source_.disk().block_status(position, length));
    length = status.length;
    if (!status.data || status.file == nullptr) co_return 0;
    const Result<uint64_t> copied = co_await target_.copy_from(
        *status.file, *status.host_offset, options_.to_target(position), status.length);
    if (copied) co_return *copied;
    if (copied.error().kind() == ErrorKind::kUnsupported) stop_offloading();
    co_return 0;
  }

  void stop_offloading() {
    offloads_ = false;
    source_.set_chunk_bytes(kPlainChunkBytes);
  }

  Task<void> my_turn(const CopyChunk& chunk) {
    while (turn_ != chunk.number) co_await turns_.wait();
  }

  Task<Result<void>> write_plain(uint64_t position, std::span<std::byte> data) {
    const uint64_t target = options_.to_target(position);
    std::vector<ChunkPart> parts{{.offset = 0, .length = data.size(), .zero = false}};
    if (options_.sparse_bytes != 0 && options_.look_for_zeros)
      parts = split_zeros(data, target, std::max(source_.unit_bytes(), options_.sparse_bytes));
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

  Disk& target_;
  const CopyOptions& options_;
  CopyProgress progress_;
  CopySource source_;
  std::optional<ChunkPacker> packer_;  // with compress_into
  bool offloads_;                      // as long as the kernel can

  uint64_t turn_ = 0;  // number of the chunk that may be written
  uint64_t running_ = 0;
  WaitList turns_;
  WaitList finished_;
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
