// The transmit queue of a network device (virtio 1.2, 5.1.6.2): frames go from the driver's buffers
// straight to the back end.
#pragma once

#include <sys/uio.h>

#include <optional>
#include <vector>

#include "virtio/chain.h"
#include "virtio/net_backend.h"
#include "virtio/queue.h"

namespace hull::virtio {

class NetSender {
 public:
  enum class Outcome : uint8_t {
    kSent,       // or dropped because it is no frame
    kNoFrame,    // the driver has nothing more
    kBlocked,    // the back end takes nothing now; the frame is kept
    kBackEnd,    // it failed, and the frame is dropped: errno is in `error`
    kMalformed,  // the ring is broken: `reason`
  };

  explicit NetSender(Queue queue) : queue_(std::move(queue)) {}
  ~NetSender();  // discards the frame it keeps

  // Takes one frame from the driver to `backend`; none drops it.
  Outcome send(NetBackend* backend);
  Queue& queue() { return queue_; }
  const Queue& queue() const { return queue_; }
  int error() const { return error_; }
  std::string_view reason() const { return reason_; }

 private:
  Outcome write_frame(NetBackend& backend);

  Queue queue_;
  std::optional<Chain> frame_;
  std::vector<iovec> iovecs_;
  int error_ = 0;
  std::string_view reason_;
};

}  // namespace hull::virtio
