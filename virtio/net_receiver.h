// The receive queue of a network device (virtio 1.2, 5.1.6.3 and 5.1.6.4): frames go from the back
// end straight into the driver's buffers.
//
// The size of a frame is known only once it is read, so it is read into buffers that were taken
// from the ring beforehand and are kept for the next frame if this one does not need them. What
// does not fit lands in a spare buffer and is copied behind the rest as soon as there is room:
// nothing is lost while the driver refills its ring.
#pragma once

#include <sys/uio.h>

#include <deque>
#include <memory>
#include <vector>

#include "virtio/chain.h"
#include "virtio/net_backend.h"
#include "virtio/queue.h"

namespace hull::virtio {

class NetReceiver {
 public:
  enum class Outcome : uint8_t {
    kDelivered,  // or dropped because it can never fit
    kNoFrame,    // the back end has nothing more
    kNoBuffers,  // the driver has to make buffers available first
    kBackEnd,    // it failed: errno is in `error`
    kMalformed,  // the ring is broken, for good: `reason`
  };

  NetReceiver(Queue queue, bool mergeable);
  ~NetReceiver();  // discards the buffers it holds

  // Takes one frame from `backend` to the driver.
  Outcome receive(NetBackend& backend);
  // The frame that waits for room, with its header; empty: none. For another receiver on a queue at
  // this one's position(), which takes it if it is one that can have arrived.
  std::vector<uint8_t> waiting_frame() const;
  bool set_waiting_frame(std::span<const uint8_t> frame);
  Queue& queue() { return queue_; }
  const Queue& queue() const { return queue_; }
  int error() const { return error_; }
  std::string_view reason() const { return reason_; }

 private:
  struct Held {
    Chain chain;
    size_t bytes;
  };
  enum class Taken : uint8_t { kYes, kEmpty, kMalformed };

  Taken take_buffer();
  Outcome read_frame(NetBackend& backend);
  Outcome make_room();
  void deliver();
  void copy_spare_into(const Chain& chain, size_t frame_offset);

  Queue queue_;
  const bool mergeable_;
  std::deque<Held> held_;
  size_t held_bytes_ = 0;
  size_t frame_bytes_ = 0;  // of the frame that waits for room; 0: none
  size_t read_bytes_ = 0;   // of it, what was read into held buffers
  size_t expected_bytes_;   // room to have before the next read
  std::vector<iovec> iovecs_;
  std::unique_ptr<uint8_t[]> spare_;
  int error_ = 0;
  std::string_view reason_;
};

}  // namespace hull::virtio
