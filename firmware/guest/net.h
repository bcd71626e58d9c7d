// virtio-net (virtio 1.2, section 5.1): one pair of queues, mergeable receive buffers where
// offered.
#pragma once

#include <cstdint>

#include "firmware/guest/args.h"
#include "firmware/guest/virtqueue.h"

namespace hull::guest {

// Feature bits, 5.1.3.
inline constexpr uint64_t kNetChecksum = uint64_t{1} << 0;
inline constexpr uint64_t kNetGuestChecksum = uint64_t{1} << 1;
inline constexpr uint64_t kNetMtu = uint64_t{1} << 3;
inline constexpr uint64_t kNetMac = uint64_t{1} << 5;
inline constexpr uint64_t kNetGuestTso4 = uint64_t{1} << 7;
inline constexpr uint64_t kNetHostTso4 = uint64_t{1} << 11;
inline constexpr uint64_t kNetMergeable = uint64_t{1} << 15;
inline constexpr uint64_t kNetStatus = uint64_t{1} << 16;
inline constexpr uint64_t kNetOffloads =
    kNetChecksum | kNetGuestChecksum | kNetGuestTso4 | kNetHostTso4;

inline constexpr uint8_t kNetNeedsChecksum = 1;  // flags
inline constexpr uint8_t kNetGsoTcp4 = 1;        // gso_type

// 5.1.6, with num_buffers, as VERSION_1 has it always.
struct NetHeader {
  uint8_t flags;
  uint8_t gso_type;
  uint16_t header_length;
  uint16_t gso_size;
  uint16_t checksum_start;
  uint16_t checksum_offset;
  uint16_t buffers;
};
static_assert(sizeof(NetHeader) == 12);

struct Mac {
  uint8_t bytes[6];
};

class NetDevice {
 public:
  static constexpr uint32_t kMaxFrame = 65550;

  // dev=N of the arguments: the N-th network device; with "offload" checksums and TSO are
  // negotiated.
  Failure open(const Args& args);

  MmioDevice& transport() { return transport_; }
  Virtqueue& receive_queue() { return receive_queue_; }
  Virtqueue& send_queue() { return send_queue_; }
  const Mac& mac() const { return mac_; }

  // A buffer for one frame, or nullptr while all are in flight; then send it.
  uint8_t* frame_to_send();
  void send(uint32_t length, const NetHeader& header = {});
  // Takes back what the device has sent; the answer is how many.
  uint64_t reclaim();

  // The next frame received, its pieces put together; valid until the next call. 0: none waits.
  uint32_t receive(const uint8_t*& frame);

 private:
  struct SendSlot {
    NetHeader header;
    uint8_t frame[kMaxFrame];
  };

  Failure prepare_buffers();
  void offer(uint16_t buffer);

  MmioDevice transport_;
  Virtqueue receive_queue_;
  Virtqueue send_queue_;
  Mac mac_{};
  uint32_t buffer_size_ = 0;
  uint8_t* receive_buffers_ = nullptr;
  uint16_t buffer_of_[kMaxQueueSize];  // by token
  uint8_t* joined_ = nullptr;          // a frame of several buffers
  bool holding_ = false;               // the buffer of the last frame is not offered again yet
  uint16_t held_ = 0;

  static constexpr uint16_t kSendSlots = 64;
  SendSlot* send_slots_ = nullptr;
  uint16_t slot_of_[kMaxQueueSize];  // by token
  uint16_t free_slots_[kSendSlots];
  uint16_t free_slot_count_ = 0;
};

}  // namespace hull::guest
