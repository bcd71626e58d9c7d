#include "blockcore/policy_disk.h"

#include "blockcore/engine/iovecs.h"

namespace hull::blockcore {

namespace {

// Shorter writes of zeros cost less than what would replace them.
constexpr uint64_t kMinDetectedBytes = 4096;

Task<Result<void>> nothing() { co_return {}; }

}  // namespace

Task<Result<void>> PolicyDisk::write(uint64_t offset, std::span<const iovec> buffers) {
  if (policy_.detect_zeroes != DetectZeroes::kOff) {
    const uint64_t length = total_bytes(buffers);
    if (length >= kMinDetectedBytes && is_zero(buffers))
      return write_zeroes(offset, length, policy_.detect_zeroes == DetectZeroes::kUnmap);
  }
  Task<Result<void>> change = disk_->write(offset, buffers);
  return policy_.flush_after_write ? then_flush(std::move(change)) : std::move(change);
}

Task<Result<void>> PolicyDisk::write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) {
  Task<Result<void>> change = disk_->write_zeroes(offset, length, may_unmap && policy_.unmap);
  return policy_.flush_after_write ? then_flush(std::move(change)) : std::move(change);
}

Task<Result<void>> PolicyDisk::discard(uint64_t offset, uint64_t length) {
  if (!policy_.unmap) return nothing();
  Task<Result<void>> change = disk_->discard(offset, length);
  return policy_.flush_after_write ? then_flush(std::move(change)) : std::move(change);
}

Task<Result<uint64_t>> PolicyDisk::copy_from(const File& source, uint64_t source_offset,
                                             uint64_t offset, uint64_t length) {
  CO_TRY(const uint64_t copied, co_await disk_->copy_from(source, source_offset, offset, length));
  if (policy_.flush_after_write) CO_TRY_VOID(co_await disk_->flush());
  co_return copied;
}

Task<Result<void>> PolicyDisk::then_flush(Task<Result<void>> change) {
  CO_TRY_VOID(co_await std::move(change));
  co_return co_await disk_->flush();
}

}  // namespace hull::blockcore
