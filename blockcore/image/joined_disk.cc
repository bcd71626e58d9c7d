#include "blockcore/image/joined_disk.h"

#include <algorithm>

#include "base/check.h"
#include "blockcore/engine/iovecs.h"

namespace hull::blockcore {

JoinedDisk::JoinedDisk(const std::vector<Disk*>& disks) {
  for (Disk* const disk : disks) {
    alignment_bytes_ = std::max(alignment_bytes_, disk->alignment_bytes());
    if (disk->size_bytes() == 0) continue;
    members_.push_back({disk, size_bytes_, size_bytes_ + disk->size_bytes()});
    size_bytes_ = members_.back().end;
  }
}

const JoinedDisk::Member& JoinedDisk::at(uint64_t offset) const {
  const auto found = std::ranges::upper_bound(members_, offset, {}, &Member::end);
  CHECK(found != members_.end());
  return *found;
}

Task<Result<void>> JoinedDisk::read(uint64_t offset, std::span<const iovec> buffers) {
  const uint64_t length = total_bytes(buffers);
  for (uint64_t done = 0; done < length;) {
    const Member& member = at(offset + done);
    const uint64_t now = std::min(length - done, member.end - offset - done);
    const IovecPart part(buffers, done, now);
    CO_TRY_VOID(co_await member.disk->read(offset + done - member.begin, part.buffers()));
    done += now;
  }
  co_return {};
}

Task<Result<BlockStatus>> JoinedDisk::block_status(uint64_t offset, uint64_t length) {
  const Member& member = at(offset);
  co_return co_await member.disk->block_status(offset - member.begin,
                                               std::min(length, member.end - offset));
}

Task<Result<void>> JoinedDisk::write(uint64_t, std::span<const iovec>) {
  co_return fail(ErrorKind::kUnsupported, "a disk that is only read");
}

Task<Result<void>> JoinedDisk::write_zeroes(uint64_t, uint64_t, bool) {
  co_return fail(ErrorKind::kUnsupported, "a disk that is only read");
}

}  // namespace hull::blockcore
