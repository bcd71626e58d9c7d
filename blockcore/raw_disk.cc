#include "blockcore/raw_disk.h"

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

}  // namespace hull::blockcore
