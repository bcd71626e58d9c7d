// Several disks one after the other, as one that is only read: what `hull img convert` makes of
// more than one source. Borrows them.
#pragma once

#include <vector>

#include "blockcore/disk.h"

namespace hull::blockcore {

class JoinedDisk final : public Disk {
 public:
  explicit JoinedDisk(const std::vector<Disk*>& disks);

  uint64_t size_bytes() const override { return size_bytes_; }
  bool read_only() const override { return true; }
  uint32_t alignment_bytes() const override { return alignment_bytes_; }
  bool can_discard() const override { return false; }
  uint32_t discard_granularity_bytes() const override { return 512; }

  Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override;
  Task<Result<void>> flush() override { co_return {}; }
  Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool may_unmap) override;
  Task<Result<void>> discard(uint64_t, uint64_t) override { co_return {}; }
  Task<Result<BlockStatus>> block_status(uint64_t offset, uint64_t length) override;
  Task<Result<void>> close() override { co_return {}; }  // whoever owns the disks closes them

 private:
  struct Member {
    Disk* disk;
    uint64_t begin;
    uint64_t end;
  };
  // The one that holds the byte.
  const Member& at(uint64_t offset) const;

  std::vector<Member> members_;  // none of them empty
  uint64_t size_bytes_ = 0;
  uint32_t alignment_bytes_ = 1;
};

}  // namespace hull::blockcore
