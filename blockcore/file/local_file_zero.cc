// LocalFile: giving blocks back, reserving them, and zeros without data.
#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/checked.h"
#include "blockcore/file/local_file.h"
#include "blockcore/zero_bytes.h"

namespace hull::blockcore {

namespace {

constexpr size_t kZeroPieces = 16;

}  // namespace

Task<int64_t> LocalFile::try_fallocate(int mode, uint64_t offset, uint64_t length,
                                       bool* supported) {
  if (!*supported) co_return -EOPNOTSUPP;
  const RangeLock::Hold hold(changing_, blocks_of(offset, length));
  while (WaitList* before = hold.before()) co_await before->wait();
  const int64_t result = co_await engine_.fallocate(fd_.get(), mode, offset, length);
  if (result != -EOPNOTSUPP && result != -ENOSYS) co_return result;
  *supported = false;
  co_return -EOPNOTSUPP;
}

Task<Result<void>> LocalFile::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
  CO_TRY_VOID(check_writable(offset, length));
  const uint64_t end = offset + length;
  const uint64_t inside_end = std::min(end, size_bytes_);
  if (offset < inside_end) {
    // A block device zeroes whole blocks; the rest is written.
    const uint64_t alignment = zeroing_alignment_bytes_;
    const uint64_t first = std::min(align_up(offset, alignment), inside_end);
    const uint64_t last = std::max(align_down(inside_end, alignment), first);
    CO_TRY_VOID(co_await write_zero_bytes(offset, first - offset));
    if (first < last) CO_TRY_VOID(co_await zero_inside(first, last - first, may_unmap));
    CO_TRY_VOID(co_await write_zero_bytes(last, inside_end - last));
  }
  // Past the end all is zero; its last byte makes the file longer, without ever making it shorter
  // than a concurrent write has made it.
  if (end > size_bytes_) co_return co_await write_zero_bytes(end - 1, 1);
  co_return {};
}

Task<Result<void>> LocalFile::zero_inside(uint64_t offset, uint64_t length, bool may_unmap) {
  int64_t result = -EOPNOTSUPP;
  if (may_unmap)
    result = co_await try_fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length,
                                    &can_punch_);
  if (result == -EOPNOTSUPP)
    result = co_await try_fallocate(FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, length,
                                    &can_zero_range_);
  if (result == -EOPNOTSUPP) co_return co_await write_zero_bytes(offset, length);
  if (result < 0) co_return failure("write zeros", offset, result);
  co_return {};
}

Task<Result<void>> LocalFile::write_zero_bytes(uint64_t offset, uint64_t length) {
  std::array<iovec, kZeroPieces> pieces;
  while (length > 0) {
    size_t count = 0;
    uint64_t bytes = 0;
    for (; count < kZeroPieces && bytes < length; ++count) {
      pieces[count] = {zero_bytes.data(), std::min<uint64_t>(length - bytes, zero_bytes.size())};
      bytes += pieces[count].iov_len;
    }
    CO_TRY_VOID(co_await write(offset, {pieces.data(), count}));
    offset += bytes;
    length -= bytes;
  }
  co_return {};
}

Task<Result<void>> LocalFile::discard(uint64_t offset, uint64_t length) {
  CO_TRY_VOID(check_writable(offset, length));
  const uint64_t alignment = zeroing_alignment_bytes_;
  const uint64_t first = align_up(offset, alignment);
  const uint64_t last = align_down(std::min(offset + length, size_bytes_), alignment);
  if (first >= last) co_return {};
  const int64_t result = co_await try_fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first,
                                                last - first, &can_punch_);
  if (result < 0 && result != -EOPNOTSUPP) co_return failure("discard", offset, result);
  co_return {};
}

Result<FileRange> LocalFile::range_at(uint64_t offset) const {
  if (offset >= size_bytes_ || block_device_) return File::range_at(offset);
  const auto start = static_cast<off_t>(offset);
  const off_t data = ::lseek(fd_.get(), start, SEEK_DATA);
  // ENXIO: nothing but a hole follows.
  if (data < 0 && errno == ENXIO) return FileRange{.hole = true, .length = UINT64_MAX - offset};
  if (data > start) return FileRange{.hole = true, .length = static_cast<uint64_t>(data) - offset};
  const off_t hole = data < 0 ? -1 : ::lseek(fd_.get(), start, SEEK_HOLE);
  // A file system without these, or a file that is cut meanwhile.
  if (hole <= start) return File::range_at(offset);
  return FileRange{.hole = false, .length = static_cast<uint64_t>(hole) - offset};
}

Task<Result<void>> LocalFile::allocate(uint64_t offset, uint64_t length) {
  CO_TRY_VOID(check_writable(offset, length));
  if (length == 0 || block_device_) co_return {};
  const CountWhileAlive beyond(writes_beyond_, offset + length > size_bytes_);
  const int64_t result = co_await engine_.fallocate(fd_.get(), 0, offset, length);
  if (result == -EOPNOTSUPP || result == -ENOSYS)
    co_return fail(ErrorKind::kUnsupported, "{}: the file system cannot reserve space", path_);
  if (result < 0) co_return failure("allocate", offset, result);
  grow_to(offset + length);
  co_return {};
}

}  // namespace hull::blockcore
