// A split virtqueue, the driver's half (virtio 1.2, section 2.7). Requests are handed over with
// add() and kick() and come back from take() under the token that add() returned.
#pragma once

#include <cstdint>
#include <span>

#include "firmware/guest/virtio_mmio.h"

namespace hull::guest {

inline constexpr uint16_t kMaxQueueSize = 256;

struct Descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};
inline constexpr uint16_t kDescriptorNext = 1;
inline constexpr uint16_t kDescriptorWrite = 2;
inline constexpr uint16_t kDescriptorIndirect = 4;

struct AvailRing {
  uint16_t flags;
  uint16_t index;
  uint16_t ring[kMaxQueueSize + 1];  // used_event stands behind the last one used
};
struct UsedElement {
  uint32_t id;
  uint32_t length;
};
struct UsedRing {
  uint16_t flags;
  uint16_t index;
  UsedElement ring[kMaxQueueSize + 1];  // avail_event likewise
};

// A piece of a request.
struct Segment {
  const void* address;
  uint32_t length;
  bool device_writes;
};

struct Completion {
  uint16_t token;
  uint32_t length;
};

class Virtqueue {
 public:
  static constexpr uint16_t kMaxSegments = 8;
  static constexpr uint16_t kNoRoom = 0xffff;

  // Between negotiate() and start(). The size is the smaller of `wanted` and what the device
  // offers.
  Failure set_up(MmioDevice& device, uint16_t index, uint16_t wanted = kMaxQueueSize);

  // The token (0 … size() - 1), or kNoRoom. The device sees the request after kick().
  uint16_t add(std::span<const Segment> segments);
  // The token of the next add(), or kNoRoom: what belongs to the request can be kept under it.
  uint16_t next_token() const { return free_count_ == 0 ? kNoRoom : free_head_; }
  // Publishes, and notifies the device if it asks for that.
  void kick();
  bool take(Completion& completion);
  // What to do while take() finds nothing, as hull.wait says: look again soon, or sleep until an
  // interrupt.
  Failure idle();
  // take(), waiting for kDeviceTimeoutMs at most.
  Failure wait(Completion& completion);

  uint16_t size() const { return size_; }
  uint64_t kicks() const { return kicks_; }

  // For programs that misbehave: the rings themselves.
  Descriptor* descriptors() { return descriptors_; }
  volatile AvailRing* avail() { return avail_; }
  volatile UsedRing* used() { return used_; }
  void notify() const { device_->write(kQueueNotify, index_); }

 private:
  uint16_t add_indirect(std::span<const Segment> segments);
  uint16_t add_chain(std::span<const Segment> segments);
  void free_chain(uint16_t head);
  volatile uint16_t& used_event() { return avail_->ring[size_]; }
  uint16_t avail_event() const;
  void ask_for_interrupt(bool wanted);

  MmioDevice* device_ = nullptr;
  uint16_t index_ = 0;
  uint16_t size_ = 0;
  uint16_t free_head_ = 0;
  uint16_t free_count_ = 0;
  uint16_t next_avail_ = 0;  // what the next add() fills
  uint16_t published_ = 0;   // avail.idx as the device sees it
  uint16_t last_used_ = 0;
  uint64_t kicks_ = 0;
  Descriptor* descriptors_ = nullptr;
  volatile AvailRing* avail_ = nullptr;
  volatile UsedRing* used_ = nullptr;
  Descriptor* indirect_ = nullptr;  // kMaxSegments for each token
};

}  // namespace hull::guest
