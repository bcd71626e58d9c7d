// The data path of a virtio network device (virtio 1.2, 5.1.6): frames between its two queues and
// the back end.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/event_loop.h"
#include "virtio/device.h"
#include "virtio/net_backend.h"
#include "virtio/net_receiver.h"
#include "virtio/net_sender.h"

namespace hull::virtio {

constexpr size_t kReceiveQueue = 0;
constexpr size_t kTransmitQueue = 1;

// Lives from activate() to stop(); every member function runs on the worker.
class NetSession {
 public:
  // The device's end of the wire, from activation to activation.
  struct Link {
    NetBackend* backend;   // null: frames go nowhere and none arrive; the worker's
    std::atomic<bool> up;  // cleared for good, as the back end, when that disappears
  };
  struct Context {
    const std::string& name;  // the device's, for messages
    Link& link;
    EventLoop& loop;
    NetOffloads offloads;  // what the driver finishes itself
    bool mergeable_buffers;
  };
  NetSession(Context context, DeviceResources resources);

  void start();
  void stop();
  // A frame that waits for room in the driver's buffers, or in the back end, waits on. A session
  // that is built anew from positions() is told the first (waiting_frame()) and sends the second.
  void pause();
  void resume();
  // While paused, on any thread.
  std::vector<std::optional<QueuePosition>> positions() const;
  // With its header; empty: none.
  std::vector<uint8_t> waiting_frame() const;
  // Before start().
  void set_waiting_frame(std::span<const uint8_t> frame);

 private:
  void watch_all();
  void add(int fd, uint32_t events, void (NetSession::*handler)());
  void on_backend(uint32_t events);
  void receive();
  void receive_frames();
  void wait_for_buffers();
  void pause_after(int error);
  void receive_after(std::chrono::milliseconds delay);
  void transmit();
  bool transmit_frames(unsigned& budget);
  void watch_backend();
  std::string why_gone(int error) const;
  void lose_backend(std::string_view why);
  void fail(std::string_view why);

  NetBackend* sending_backend() const {
    return context_.link.up.load(std::memory_order_relaxed) ? backend_ : nullptr;
  }

  const Context context_;
  NetBackend* backend_ = nullptr;  // from start() on; null: none, or it is gone
  DeviceInterrupt& interrupt_;
  const EventFd* receive_kick_ = nullptr;
  const EventFd* transmit_kick_ = nullptr;
  std::optional<NetReceiver> receiver_;
  std::optional<NetSender> sender_;
  bool waits_for_frames_ = false;   // EPOLLIN on the back end
  bool waits_for_room_ = false;     // EPOLLOUT on the back end
  bool waits_for_buffers_ = false;  // the driver's next kick on the receive queue
  bool stopped_ = false;
  uint64_t retry_timer_ = 0;
};

}  // namespace hull::virtio
