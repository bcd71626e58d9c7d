// LocalFile: requests that O_DIRECT cannot take as they are.
#include <unistd.h>

#include <algorithm>

#include "base/checked.h"
#include "blockcore/file/local_file.h"

namespace hull::blockcore {

bool LocalFile::needs_bounce(uint64_t offset, uint64_t length,
                             std::span<const iovec> buffers) const {
  return ((offset | length) & (alignment_bytes_ - 1)) != 0 ||
         !hull::blockcore::is_aligned(buffers, alignment_bytes_);
}

Task<Result<void>> LocalFile::read_bounced(uint64_t offset, std::span<const iovec> buffers,
                                           AtEnd at_end) {
  const BouncePool::Buffer buffer = co_await bounce_->take();
  const uint64_t total = total_bytes(buffers);
  for (uint64_t done = 0; done < total;) {
    const uint64_t start = align_down<uint64_t>(offset + done, alignment_bytes_);
    const uint64_t skip = offset + done - start;
    const uint64_t blocks = align_up<uint64_t>(skip + total - done, alignment_bytes_);
    const iovec whole{buffer.bytes().data(), std::min<uint64_t>(blocks, BouncePool::kBufferBytes)};
    const int64_t got = co_await engine_.readv(fd_.get(), {&whole, 1}, start);
    if (got < 0) co_return failure("read", start, got);
    if (static_cast<uint64_t>(got) <= skip) {
      if (at_end == AtEnd::kFail)
        co_return fail(ErrorKind::kOutOfRange, "{}: read at {:#x}: end of file, {} bytes missing",
                       path_, offset, total - done);
      zero_iovecs(buffers, done, total - done);
      co_return {};
    }
    const uint64_t count = std::min(static_cast<uint64_t>(got) - skip, total - done);
    copy_to_iovecs(buffers, done, buffer.bytes().subspan(skip, count));
    done += count;
  }
  co_return {};
}

// The caller holds all the blocks.
Task<Result<void>> LocalFile::write_bounced(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t total = total_bytes(buffers);
  const BouncePool::Buffer buffer = co_await bounce_->take();
  for (uint64_t done = 0; done < total;) {
    const uint64_t skip = (offset + done) & (alignment_bytes_ - 1);
    const uint64_t count = std::min(total - done, BouncePool::kBufferBytes - skip);
    const auto blocks = buffer.bytes().first(align_up<uint64_t>(skip + count, alignment_bytes_));
    CO_TRY_VOID(co_await fill_ends(offset + done, count, blocks));
    copy_from_iovecs(buffers, done, blocks.subspan(skip, count));
    CO_TRY_VOID(co_await write_blocks(offset + done - skip, offset + done + count, blocks));
    done += count;
  }
  co_return {};
}

// Reads the blocks that [position, position + count) covers in part into both ends of `blocks`.
Task<Result<void>> LocalFile::fill_ends(uint64_t position, uint64_t count,
                                        std::span<std::byte> blocks) {
  const uint64_t start = align_down<uint64_t>(position, alignment_bytes_);
  const uint64_t last = start + blocks.size() - alignment_bytes_;
  const bool head_is_partial = position != start;
  const bool tail_is_partial = position + count != start + blocks.size();
  if (head_is_partial) {
    const iovec head{blocks.data(), alignment_bytes_};
    CO_TRY_VOID(co_await read_or_zero(start, {&head, 1}));
  }
  if (tail_is_partial && !(head_is_partial && last == start)) {
    const iovec tail{blocks.data() + (last - start), alignment_bytes_};
    CO_TRY_VOID(co_await read_or_zero(last, {&tail, 1}));
  }
  co_return {};
}

// Whole blocks, of which the bytes up to `data_end` are meant: padding that made the file longer is
// cut off again, unless another write past the end is in flight (it then stays, as zeros).
Task<Result<void>> LocalFile::write_blocks(uint64_t start, uint64_t data_end,
                                           std::span<std::byte> blocks) {
  const uint64_t padded_end = start + blocks.size();
  const uint64_t wanted_size = std::max(size_bytes_, data_end);
  const iovec whole{blocks.data(), blocks.size()};
  {
    const CountWhileAlive beyond(writes_beyond_, padded_end > size_bytes_);
    CO_TRY_VOID(co_await write_rest(start, {&whole, 1}, 0));
  }
  if (wanted_size < padded_end && size_bytes_ == padded_end && writes_beyond_ == 0)
    co_return cut_to(wanted_size);
  co_return {};
}

}  // namespace hull::blockcore
