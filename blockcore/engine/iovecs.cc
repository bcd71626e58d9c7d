#include "blockcore/engine/iovecs.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace hull::blockcore {

namespace {

// Calls visit(address, length) for each piece of [offset, offset + length) until it returns false.
template <class Visit>
void for_each_piece(std::span<const iovec> buffers, uint64_t offset, uint64_t length,
                    const Visit& visit) {
  for (const iovec& buffer : buffers) {
    if (length == 0) return;
    if (offset >= buffer.iov_len) {
      offset -= buffer.iov_len;
      continue;
    }
    const size_t count = std::min<uint64_t>(buffer.iov_len - offset, length);
    if (!visit(static_cast<std::byte*>(buffer.iov_base) + offset, count)) return;
    offset = 0;
    length -= count;
  }
  CHECK(length == 0);
}

bool is_zero_memory(const std::byte* memory, size_t size) {
  constexpr size_t kStep = 64;
  if (size < kStep)
    return std::all_of(memory, memory + size, [](std::byte b) { return b == std::byte{0}; });
  // Most data differs in its first bytes; the rest compares the block with itself, shifted.
  if (!is_zero_memory(memory, kStep - 1)) return false;
  return std::memcmp(memory, memory + kStep - 1, size - (kStep - 1)) == 0;
}

}  // namespace

uint64_t total_bytes(std::span<const iovec> buffers) {
  uint64_t total = 0;
  for (const iovec& buffer : buffers) total += buffer.iov_len;
  return total;
}

bool is_aligned(std::span<const iovec> buffers, uint32_t alignment) {
  uintptr_t bits = 0;
  for (const iovec& buffer : buffers)
    bits |= reinterpret_cast<uintptr_t>(buffer.iov_base) | buffer.iov_len;
  return (bits & (alignment - 1)) == 0;
}

IovecPart::IovecPart(std::span<const iovec> buffers, uint64_t offset, uint64_t length,
                     size_t limit) {
  for_each_piece(buffers, offset, length, [&](std::byte* memory, size_t size) {
    if (count_ == limit) return false;
    add({memory, size});
    return true;
  });
}

void IovecPart::add(const iovec& piece) {
  if (count_ < kInline) {
    inline_[count_] = piece;
  } else {
    if (count_ == kInline) spilled_.assign(inline_.begin(), inline_.end());
    spilled_.push_back(piece);
  }
  ++count_;
}

void copy_from_iovecs(std::span<const iovec> buffers, uint64_t offset, std::span<std::byte> data) {
  std::byte* destination = data.data();
  for_each_piece(buffers, offset, data.size(), [&](const std::byte* memory, size_t size) {
    std::memcpy(destination, memory, size);
    destination += size;
    return true;
  });
}

void copy_to_iovecs(std::span<const iovec> buffers, uint64_t offset,
                    std::span<const std::byte> data) {
  const std::byte* source = data.data();
  for_each_piece(buffers, offset, data.size(), [&](std::byte* memory, size_t size) {
    std::memcpy(memory, source, size);
    source += size;
    return true;
  });
}

void zero_iovecs(std::span<const iovec> buffers, uint64_t offset, uint64_t length) {
  for_each_piece(buffers, offset, length, [](std::byte* memory, size_t size) {
    std::memset(memory, 0, size);
    return true;
  });
}

bool is_zero(std::span<const std::byte> data) { return is_zero_memory(data.data(), data.size()); }

bool is_zero(std::span<const iovec> buffers) {
  return std::all_of(buffers.begin(), buffers.end(), [](const iovec& buffer) {
    return is_zero_memory(static_cast<const std::byte*>(buffer.iov_base), buffer.iov_len);
  });
}

}  // namespace hull::blockcore
