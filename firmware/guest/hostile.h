// hostile: a driver that misbehaves on purpose. Each attack says what it saw; its table says which
// of that is right. Afterwards the device must work again after a reset (Victim::probe).
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "firmware/guest/args.h"
#include "firmware/guest/random.h"
#include "firmware/guest/virtqueue.h"

namespace hull::guest {

// What became of an attack; accepted results are a sum of these.
enum Result : uint32_t {
  kBroken = 1,    // DEVICE_NEEDS_RESET
  kRefused = 2,   // DRIVER_OK, FEATURES_OK or QueueReady did not stick
  kError = 4,     // answered with an error status
  kNoStatus = 8,  // given back without a status
  kDone = 16,     // answered as if all were well
  kIgnored = 32,  // nothing within a short time
};
inline constexpr uint32_t kAnyResult = 63;
std::string_view name_of(Result result);

struct QueueSetup {
  uint32_t size;
  uint64_t descriptors;
  uint64_t driver;
  uint64_t device;
};

// The device under attack and its queue: the only one of block and entropy devices, the sending one
// of network devices.
class Victim {
 public:
  Failure find(const Args& args);  // device=blk, net or rng; dev=N

  MmioDevice& device() { return device_; }
  Virtqueue& queue() { return queue_; }
  bool is_block() const { return id_ == kBlockDevice; }
  uint16_t queue_index() const { return id_ == kNetDevice ? 1 : 0; }

  Failure reset();
  // Up to FEATURES_OK; up to DRIVER_OK with one queue.
  Failure negotiate(uint64_t features = kFeatureIndirect | kFeatureEventIdx);
  Failure start(uint64_t features = kFeatureIndirect | kFeatureEventIdx);

  // For attacks on the set-up: rings that would be right, and how to tell the device of them.
  QueueSetup good_setup();
  void apply(const QueueSetup& setup);

  // A request that is right, in three segments at most.
  std::span<Segment> good_request();
  // Writes it to the descriptors from `first` on as a chain.
  void lay_chain(uint16_t first, std::span<const Segment> segments);
  // Makes heads available, as many as there are, and notifies.
  void offer(std::span<const uint16_t> heads);
  void offer(uint16_t head) { offer(std::span(&head, 1)); }

  // Waits for what happens: for long, unless `accepted` has kIgnored.
  Result watch(uint32_t accepted);
  // Starts the device afresh and does one request that must succeed.
  Failure probe();

  uint8_t* scratch() { return scratch_; }
  static constexpr uint64_t kScratchSize = 1 << 20;

 private:
  Failure set_up_queues();

  MmioDevice device_;
  Virtqueue queue_;
  Virtqueue other_queue_;
  uint32_t id_ = 0;
  volatile UsedRing* used_ =
      nullptr;  // where an answer may come, while the device has a right queue
  uint8_t* scratch_ = nullptr;
  Segment request_[3];
};

struct Attack {
  std::string_view name;
  uint32_t accepted;
  bool block_only;
  Result (*run)(Victim& victim, uint32_t accepted, const Args& args);
};

std::span<const Attack> setup_attacks();
std::span<const Attack> ring_attacks();
std::span<const Attack> block_attacks();
std::span<const Attack> transport_attacks();

}  // namespace hull::guest
