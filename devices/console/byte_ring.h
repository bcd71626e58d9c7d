// A bounded first-in-first-out queue of bytes. Not thread-safe: its owner has a lock. The memory is
// touched only as far as it was ever filled, so a large capacity costs nothing until it is needed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "base/check.h"

namespace hull::devices {

// The content of a ring, oldest byte first, in at most two pieces.
struct RingView {
  std::span<const uint8_t> first;
  std::span<const uint8_t> second;

  size_t size() const { return first.size() + second.size(); }
  // Without the oldest `count` bytes.
  RingView skip(size_t count) const {
    CHECK(count <= size());
    const size_t head = std::min(count, first.size());
    return {first.subspan(head), second.subspan(count - head)};
  }
};

class ByteRing {
 public:
  // `capacity` is a power of two.
  explicit ByteRing(size_t capacity)
      : bytes_(std::make_unique_for_overwrite<uint8_t[]>(capacity)), capacity_(capacity) {
    CHECK(capacity != 0 && (capacity & (capacity - 1)) == 0);
  }

  size_t size() const { return size_; }
  size_t room() const { return capacity_ - size_; }
  bool empty() const { return size_ == 0; }

  // Appends as much as there is room for and says how much that was.
  size_t push(std::span<const uint8_t> data) {
    const size_t count = std::min(data.size(), room());
    for (size_t done = 0; done < count;) {
      const size_t at = (head_ + size_) & (capacity_ - 1);
      const size_t piece = std::min(count - done, capacity_ - at);
      std::memcpy(&bytes_[at], &data[done], piece);
      size_ += piece;
      done += piece;
    }
    return count;
  }
  bool push(uint8_t byte) { return push({&byte, 1}) == 1; }

  // Valid until the bytes are popped; bytes pushed meanwhile lie outside of it.
  RingView view() const {
    const size_t piece = std::min(size_, capacity_ - head_);
    return {{&bytes_[head_], piece}, {&bytes_[0], size_ - piece}};
  }

  void pop(size_t count) {
    CHECK(count <= size_);
    size_ -= count;
    // Starting over when empty keeps a lightly used ring within its first page.
    head_ = size_ == 0 ? 0 : (head_ + count) & (capacity_ - 1);
  }
  uint8_t pop_front() {
    CHECK(size_ != 0);
    const uint8_t byte = bytes_[head_];
    pop(1);
    return byte;
  }
  void clear() { pop(size_); }

 private:
  std::unique_ptr<uint8_t[]> bytes_;
  size_t capacity_;
  size_t head_ = 0;
  size_t size_ = 0;
};

}  // namespace hull::devices
