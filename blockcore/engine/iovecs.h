// Lists of iovecs: sums, parts, and copies between them and one buffer of ours.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace hull::blockcore {

uint64_t total_bytes(std::span<const iovec> buffers);

// Base addresses and lengths are multiples of `alignment` (a power of two).
bool is_aligned(std::span<const iovec> buffers, uint32_t alignment);

// The part [offset, offset + length) of a list as a list of its own; borrows the memory behind it.
// Up to kInline pieces cost no allocation. `limit` caps the number of pieces (IOV_MAX): then the
// part is shorter than `length`.
class IovecPart {
 public:
  IovecPart(std::span<const iovec> buffers, uint64_t offset, uint64_t length,
            size_t limit = SIZE_MAX);
  IovecPart(const IovecPart&) = delete;
  IovecPart& operator=(const IovecPart&) = delete;

  std::span<const iovec> buffers() const {
    return spilled_.empty() ? std::span<const iovec>(inline_.data(), count_) : spilled_;
  }

 private:
  static constexpr size_t kInline = 8;
  void add(const iovec& piece);

  std::array<iovec, kInline> inline_;
  size_t count_ = 0;
  std::vector<iovec> spilled_;  // all pieces, once there are too many
};

// Between `data` and the part of the list that begins at `offset` (which is long enough).
void copy_from_iovecs(std::span<const iovec> buffers, uint64_t offset, std::span<std::byte> data);
void copy_to_iovecs(std::span<const iovec> buffers, uint64_t offset,
                    std::span<const std::byte> data);
void zero_iovecs(std::span<const iovec> buffers, uint64_t offset, uint64_t length);

// All bytes are zero.
bool is_zero(std::span<const std::byte> data);
bool is_zero(std::span<const iovec> buffers);

}  // namespace hull::blockcore
