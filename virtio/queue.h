// The device's side of a split virtqueue (virtio 1.2, 2.7).
//
// Queue::create() turns what the driver wrote into a queue, once; nothing is re-read from registers
// later. Everything in the rings is hostile and changes while we look: indices are bounded, each
// descriptor is copied once, and its copy is checked and used. A ring that breaks the rules makes
// pop() fail for good; the device then reports DEVICE_NEEDS_RESET and stops.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "base/guest_memory.h"
#include "virtio/chain.h"

namespace hull::virtio {

struct QueueConfig {
  uint32_t size = 0;           // entries, as the driver wrote it
  uint16_t max_size = 0;       // what the device offers
  GuestAddress descriptors{};  // descriptor area
  GuestAddress driver{};       // available ring
  GuestAddress device{};       // used ring
  bool indirect_descriptors = false;
  bool event_index = false;
};

// How far a queue has got, modulo 2^16: where it goes on after it was saved and built anew.
struct QueuePosition {
  uint16_t next_available = 0;
  uint16_t next_used = 0;
};

enum class QueueError : uint8_t {
  kBadSize,
  kMisaligned,
  kRingOutsideMemory,
  kAvailableIndexJump,
  kIndexOutOfRange,
  kHeadInFlight,
  kChainTooLong,
  kBadIndirectTable,
  kReadableAfterWritable,
  kBufferOutsideMemory,
};
std::string_view describe(QueueError error);

// Belongs to one thread at a time. Moved with its chains in flight it stays valid; destroyed with
// some it CHECKs.
class Queue {
 public:
  static std::expected<Queue, QueueError> create(const QueueConfig& config,
                                                 const GuestMemory& memory,
                                                 QueuePosition position = {});
  Queue(Queue&& other) noexcept;
  Queue& operator=(Queue&&) = delete;
  ~Queue() { CHECK(in_flight_ == 0); }

  uint16_t size() const { return size_; }
  uint16_t in_flight() const { return in_flight_; }
  // As if the buffers in flight were still in the ring: they have to be the last ones that pop()
  // gave, and will be given again.
  QueuePosition position() const {
    return {.next_available = static_cast<uint16_t>(next_available_ - in_flight_),
            .next_used = next_used_};
  }

  // The next available buffer; nullopt when there is none. After an error always that error.
  std::expected<std::optional<Chain>, QueueError> pop();
  // Whether pop() has something to look at; costs one load, for polling.
  bool has_available() const;

  // Gives the buffer back with `written` bytes of it written, at its beginning (2.7.8.2).
  void complete(Chain chain, uint32_t written);
  // The same in two steps, where several buffers must appear at once (5.1.6.4.2).
  void stage(Chain chain, uint32_t written);
  void publish();
  // Forgets the buffer without telling the driver: at reset.
  void discard(Chain chain);

  // Whether what was published since the last call calls for a used buffer notification.
  bool should_notify();

  // While disabled the driver need not kick. enable_notifications() is true if the ring was empty
  // after enabling; if false, more arrived that no kick will announce: go on popping.
  void disable_notifications();
  [[nodiscard]] bool enable_notifications();

 private:
  struct Walk;
  Queue(const QueueConfig& config, const GuestMemory& memory, GuestSlice descriptors,
        GuestSlice available, GuestSlice used, QueuePosition position);
  std::optional<QueueError> copy_chain(uint16_t head, Chain::Slot& slot) const;
  std::optional<QueueError> step(Walk& walk, Chain::Slot& slot) const;
  std::unexpected<QueueError> broken(QueueError error);
  void release(Chain& chain);

  const GuestMemory* memory_;
  GuestSlice descriptors_;
  GuestSlice available_;
  GuestSlice used_;
  uint16_t size_;
  uint16_t max_chain_;
  bool indirect_descriptors_;
  bool event_index_;
  uint16_t next_available_ = 0;  // entry that pop() takes next
  uint16_t seen_available_ = 0;  // the driver's index when we last looked
  uint16_t next_used_ = 0;       // entry that stage() writes next
  uint16_t notified_used_ = 0;   // next_used_ at the last should_notify()
  uint16_t in_flight_ = 0;
  bool notifications_enabled_ = true;
  std::optional<QueueError> error_;
  std::unique_ptr<Chain::Slot[]> slots_;  // by head: size_ of them
};

}  // namespace hull::virtio
