#include "blockcore/image/padded_disk.h"

#include <algorithm>

#include "blockcore/engine/iovecs.h"

namespace hull::blockcore {

// How much of the range lies in the disk below.
uint64_t PaddedDisk::inside(uint64_t offset, uint64_t length) const {
  const uint64_t end = below_ == nullptr ? 0 : below_->size_bytes();
  return end <= offset ? 0 : std::min(length, end - offset);
}

Task<Result<void>> PaddedDisk::read(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t length = total_bytes(buffers);
  const uint64_t there = inside(offset, length);
  if (there == length) co_return co_await below_->read(offset, buffers);
  zero_iovecs(buffers, there, length - there);
  if (there == 0) co_return {};
  const IovecPart part(buffers, 0, there);
  co_return co_await below_->read(offset, part.buffers());
}

Task<Result<BlockStatus>> PaddedDisk::block_status(uint64_t offset, uint64_t length) {
  const uint64_t there = inside(offset, length);
  if (there != 0) co_return co_await below_->block_status(offset, there);
  co_return BlockStatus{.length = length, .zero = true};
}

Task<Result<void>> PaddedDisk::write(uint64_t, std::span<const iovec>) {
  co_return fail(ErrorKind::kUnsupported, "a disk that is only read");
}

Task<Result<void>> PaddedDisk::write_zeroes(uint64_t, uint64_t, bool) {
  co_return fail(ErrorKind::kUnsupported, "a disk that is only read");
}

Task<Result<void>> PaddedDisk::close() {
  if (below_ == nullptr) co_return {};
  co_return co_await below_->close();
}

}  // namespace hull::blockcore
