// What the user asked for beside the image, in front of any format: durable writes (cache modes
// writethrough and directsync), no unmapping, writes of zeros as write_zeroes.
#pragma once

#include <memory>

#include "blockcore/disk.h"
#include "blockcore/open.h"

namespace hull::blockcore {

struct DiskPolicy {
  bool flush_after_write = false;
  bool unmap = false;  // false: discard does nothing, write_zeroes keeps the space
  DetectZeroes detect_zeroes = DetectZeroes::kOff;
};

class PolicyDisk final : public Disk {
 public:
  PolicyDisk(std::unique_ptr<Disk> disk, const DiskPolicy& policy)
      : disk_(std::move(disk)), policy_(policy) {}

  uint64_t size_bytes() const override { return disk_->size_bytes(); }
  bool read_only() const override { return disk_->read_only(); }
  uint32_t alignment_bytes() const override { return disk_->alignment_bytes(); }
  bool can_discard() const override { return policy_.unmap && disk_->can_discard(); }
  uint32_t discard_granularity_bytes() const override { return disk_->discard_granularity_bytes(); }

  Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers) override {
    return disk_->read(offset, buffers);
  }
  Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> flush() override { return disk_->flush(); }
  Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
  Task<Result<void>> discard(uint64_t offset, uint64_t length) override;
  Task<Result<BlockStatus>> block_status(uint64_t offset, uint64_t length) override {
    return disk_->block_status(offset, length);
  }
  Task<Result<uint64_t>> copy_from(const File& source, uint64_t source_offset, uint64_t offset,
                                   uint64_t length) override;
  void abandon() override { disk_->abandon(); }
  Task<Result<void>> close() override { return disk_->close(); }

 private:
  Task<Result<void>> then_flush(Task<Result<void>> change);

  const std::unique_ptr<Disk> disk_;
  const DiskPolicy policy_;
};

}  // namespace hull::blockcore
