#include "blockcore/raw_disk.h"

#include <algorithm>

#include "base/checked.h"

namespace hull::blockcore {

namespace {

constexpr uint64_t kSectorBytes = 512;

}  // namespace

RawDisk::RawDisk(std::unique_ptr<File> file)
    : file_(std::move(file)), size_bytes_(align_up(file_->size_bytes(), kSectorBytes)) {}

Task<Result<void>> RawDisk::read(uint64_t offset, std::span<const iovec> buffers) {
  CHECK(range_fits(offset, total_bytes(buffers), size_bytes_));
  return file_->read_or_zero(offset, buffers);
}

Task<Result<void>> RawDisk::write(uint64_t offset, std::span<const iovec> buffers) {
  CHECK(range_fits(offset, total_bytes(buffers), size_bytes_));
  return file_->write(offset, buffers);
}

Task<Result<void>> RawDisk::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
  CHECK(range_fits(offset, length, size_bytes_));
  return file_->write_zeroes(offset, length, may_unmap);
}

Task<Result<void>> RawDisk::discard(uint64_t offset, uint64_t length) {
  CHECK(range_fits(offset, length, size_bytes_));
  return file_->discard(offset, length);
}

Task<Result<uint64_t>> RawDisk::copy_from(const File& source, uint64_t source_offset,
                                          uint64_t offset, uint64_t length) {
  CHECK(range_fits(offset, length, size_bytes_));
  return file_->copy_from(source, source_offset, offset, length);
}

Task<Result<BlockStatus>> RawDisk::block_status(uint64_t offset, uint64_t length) {
  CHECK(length != 0 && range_fits(offset, length, size_bytes_));
  CO_TRY(const FileRange range, file_->range_at(offset));
  // The part of the last sector that the file does not have belongs to what stands before it.
  uint64_t seen = range.length;
  if (!range.hole && range.length < size_bytes_ - offset)
    seen = align_up(offset + range.length, kSectorBytes) - offset;
  co_return BlockStatus{.length = std::min(length, seen),
                        .data = !range.hole,
                        .zero = range.hole,
                        .present = true,
                        .host_offset = offset,
                        .path = file_->path(),
                        .file = file_.get()};
}

}  // namespace hull::blockcore
