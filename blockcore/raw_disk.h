// The raw format: byte n of the disk is byte n of the file. No copy and no frame of our own: the
// guest's iovecs go to the kernel as they are.
//
// A file whose size is no multiple of 512 appears rounded up, as with QEMU: the missing bytes read
// as zeros, and the first write to them makes the file that much longer.
#pragma once

#include <memory>

#include "blockcore/disk.h"
#include "blockcore/file/file.h"

namespace hull::blockcore {

class RawDisk final : public Disk {
 public:
  explicit RawDisk(std::unique_ptr<File> file);

  uint64_t size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return file_->read_only(); }
  uint32_t alignment_bytes() const override { return file_->alignment_bytes(); }
  bool can_discard() const override { return !read_only(); }
  uint32_t discard_granularity_bytes() const override { return 4096; }

  Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> flush() override { return file_->flush(); }
  Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
  Task<Result<void>> discard(uint64_t offset, uint64_t length) override;
  Task<Result<BlockStatus>> block_status(uint64_t offset, uint64_t length) override;
  Task<Result<uint64_t>> copy_from(const File& source, uint64_t source_offset, uint64_t offset,
                                   uint64_t length) override;
  void abandon() override { file_->abandon(); }
  Task<Result<void>> close() override { return file_->flush(); }

 private:
  const std::unique_ptr<File> file_;
  const uint64_t size_bytes_;
};

}  // namespace hull::blockcore
