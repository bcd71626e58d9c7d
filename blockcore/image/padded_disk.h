// A disk that reads as another one and as zeros from its end on, so that it is as long as an image
// above it. Read-only.
#pragma once

#include <memory>

#include "blockcore/disk.h"

namespace hull::blockcore {

class PaddedDisk final : public Disk {
 public:
  // `below` may be null: then all of it is zeros.
  PaddedDisk(std::unique_ptr<Disk> below, uint64_t size_bytes)
      : below_(std::move(below)), size_bytes_(size_bytes) {}

  uint64_t size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return true; }
  uint32_t alignment_bytes() const override {
    return below_ == nullptr ? 1 : below_->alignment_bytes();
  }
  bool can_discard() const override { return false; }
  uint32_t discard_granularity_bytes() const override { return 512; }

  Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> flush() override { co_return {}; }
  Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
  Task<Result<void>> discard(uint64_t, uint64_t) override { co_return {}; }
  Task<Result<BlockStatus>> block_status(uint64_t offset, uint64_t length) override;
  Task<Result<void>> close() override;

 private:
  uint64_t inside(uint64_t offset, uint64_t length) const;

  const std::unique_ptr<Disk> below_;
  const uint64_t size_bytes_;
};

}  // namespace hull::blockcore
