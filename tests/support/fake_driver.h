// The driver's side of a split virtqueue, in the guest memory of a test; and of the MMIO registers.
//
//   FakeDriver driver(memory, GuestAddress{0x1000}, 8);
//   Queue queue = *Queue::create(driver.config(), memory);
//   driver.add({{GuestAddress{0x8000}, 16, Access::kRead}, {GuestAddress{0x9000}, 1,
//   Access::kWrite}}); … the device works … EXPECT_EQ(driver.pop_used()->length, 1U);
//
// Single calls break the rules on purpose: write_descriptor(), make_available(),
// set_available_index().
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

#include "base/guest_memory.h"
#include "virtio/mmio_transport.h"
#include "virtio/queue.h"

namespace hull::testing {

enum class Access : uint8_t { kRead, kWrite };  // what the device may do

struct Buffer {
  GuestAddress address;
  uint32_t length;
  Access access;
};

inline constexpr uint16_t kDescriptorNext = 1;
inline constexpr uint16_t kDescriptorWrite = 2;
inline constexpr uint16_t kDescriptorIndirect = 4;

GuestMemory make_memory(uint64_t size_bytes);

class FakeDriver {
 public:
  struct Used {
    uint32_t id;
    uint32_t length;
  };

  // The areas follow each other from `base`, which is a multiple of 16; area_bytes(size) in all.
  FakeDriver(const GuestMemory& memory, GuestAddress base, uint16_t size, bool event_index = false);
  static uint64_t area_bytes(uint16_t size);

  virtio::QueueConfig config() const;
  uint16_t size() const { return size_; }

  // A chain of free descriptors, made available. CHECKs that there are enough.
  uint16_t add(std::span<const Buffer> buffers);
  uint16_t add(std::initializer_list<Buffer> buffers) {
    return add(std::span(buffers.begin(), buffers.size()));
  }
  // The same through a table at `table`.
  uint16_t add_indirect(GuestAddress table, std::initializer_list<Buffer> buffers);
  size_t free_descriptors() const { return free_.size(); }

  // What the device gave back, oldest first; its descriptors become free.
  std::optional<Used> pop_used();
  // The same, waiting until there is one.
  Used wait_used();

  void write_descriptor(uint16_t index, uint64_t address, uint32_t length, uint16_t flags,
                        uint16_t next);
  void write_descriptor_at(GuestAddress where, uint64_t address, uint32_t length, uint16_t flags,
                           uint16_t next);
  void make_available(uint16_t head);
  void set_available_index(uint16_t index);
  uint16_t used_index() const;
  uint16_t used_seen() const { return used_seen_; }  // how many pop_used() took

  void set_no_interrupt(bool wanted);
  void set_used_event(uint16_t event);
  uint16_t available_event() const;
  uint16_t used_flags() const;
  // Whether a driver that follows the rules would kick after its last make_available().
  bool must_kick() const;

 private:
  uint16_t take_descriptor();

  const GuestMemory* memory_;
  uint16_t size_;
  bool event_index_;
  GuestAddress base_;
  GuestSlice descriptors_;
  GuestSlice available_;
  GuestSlice used_;
  uint16_t available_index_ = 0;
  uint16_t used_seen_ = 0;
  std::vector<uint16_t> free_;                 // the next one is the last
  std::vector<std::vector<uint16_t>> chains_;  // by head
};

// A driver that talks to MMIO registers.
class FakeMmioDriver {
 public:
  explicit FakeMmioDriver(virtio::MmioTransport& transport) : transport_(transport) {}

  uint32_t read(uint64_t offset);
  void write(uint64_t offset, uint32_t value);
  uint8_t status() { return static_cast<uint8_t>(read(0x70)); }

  uint64_t offered_features();
  // ACKNOWLEDGE to FEATURES_OK with exactly these features; false if they were refused.
  bool negotiate(uint64_t features);
  void set_up_queue(uint32_t index, const virtio::QueueConfig& config);
  void set_driver_ok();
  // Waits until it is complete.
  void reset();
  void kick(uint32_t queue) { write(0x50, queue); }

 private:
  virtio::MmioTransport& transport_;
};

}  // namespace hull::testing
