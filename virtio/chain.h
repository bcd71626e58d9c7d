// One buffer that the driver made available: a private copy of its descriptors, already checked.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/guest_memory.h"

namespace hull::virtio {

// Move-only, and consumed by Queue::complete() or Queue::discard(): one that dies otherwise would
// be a buffer that the driver never gets back, which is our bug. Belongs to the queue's thread.
class Chain {
 public:
  Chain(Chain&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)), head_(other.head_) {}
  Chain& operator=(Chain&&) = delete;
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;
  ~Chain() { CHECK(slot_ == nullptr); }

  // Segments of length zero were left out. Valid until the chain is consumed.
  std::span<const GuestSlice> readable() const {
    return std::span(slot_->segments).first(slot_->readable_count);
  }
  std::span<const GuestSlice> writable() const {
    return std::span(slot_->segments).subspan(slot_->readable_count);
  }
  // Unique among the chains in flight on one queue, below the queue's size.
  uint16_t head() const { return head_; }

 private:
  friend class Queue;
  // Kept by the queue, one per descriptor: the vector's memory is used again.
  struct Slot {
    std::vector<GuestSlice> segments;  // device-readable ones first
    size_t readable_count = 0;
    bool in_flight = false;
  };
  Chain(Slot* slot, uint16_t head) : slot_(slot), head_(head) {}

  Slot* slot_;
  uint16_t head_;
};

// A position in a list of segments that hides where one ends (virtio 1.2, 2.7.4: the framing of a
// message is independent of its contents). At most 2^32 bytes, which Queue::pop() has checked.
class SegmentCursor {
 public:
  size_t remaining() const { return remaining_; }
  // Bytes that are not there are an error that the caller has excluded: CHECK.
  void skip(size_t bytes);
  // Adds the next `bytes` bytes to `iovecs`, for the kernel to fill or to send.
  void take_iovecs(size_t bytes, std::vector<iovec>& iovecs);

 protected:
  explicit SegmentCursor(std::span<const GuestSlice> segments);
  // The next contiguous piece, not empty, at most `limit` bytes. CHECKs that something remains.
  GuestSlice take_piece(size_t limit);
  void limit_to(size_t bytes) { remaining_ = bytes; }

 private:
  std::span<const GuestSlice> segments_;
  size_t offset_ = 0;  // into the first of segments_
  size_t remaining_ = 0;
};

class ChainReader : public SegmentCursor {
 public:
  explicit ChainReader(const Chain& chain) : SegmentCursor(chain.readable()) {}

  // False, and nothing is taken, if fewer bytes remain.
  bool read(std::span<uint8_t> data);

  template <class T>
  std::optional<T> read_value() {
    static_assert(std::is_trivially_copyable_v<T> && std::has_unique_object_representations_v<T>);
    T value;
    if (!read({reinterpret_cast<uint8_t*>(&value), sizeof value})) return std::nullopt;
    return value;
  }
};

class ChainWriter : public SegmentCursor {
 public:
  explicit ChainWriter(const Chain& chain) : SegmentCursor(chain.writable()) {}

  // False, and nothing is written, if there is less room.
  bool write(std::span<const uint8_t> data);
  // Cuts the last `bytes` bytes off this writer and returns a writer for them.
  ChainWriter split_tail(size_t bytes);
};

}  // namespace hull::virtio
