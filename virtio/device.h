// What a virtio device is to a transport, and a transport to a device.
//
// The transport owns negotiation, status and the queue registers; a device never sees them. When
// the driver sets DRIVER_OK the transport moves validated queues into activate(); stop() takes
// everything back. A device can be activated and stopped any number of times.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/event_fd.h"
#include "base/result.h"
#include "virtio/features.h"
#include "virtio/queue.h"

namespace hull::virtio {

// A number of virtio 1.2, 5, which each device knows for itself.
enum class DeviceType : uint32_t {};

// How a device reaches its driver; the transport's. Any thread, never blocks, takes no lock. Not to
// be used once the device has stopped.
class DeviceInterrupt {
 public:
  virtual ~DeviceInterrupt() = default;
  // Used buffer notification (2.3) for `queue`, after Queue::should_notify() said so.
  virtual void used_buffers(size_t queue) = 0;
  // The configuration space changed: a new generation and a configuration change notification.
  virtual void config_changed() = 0;
  // The device cannot go on (a malformed ring, a lost back end): DEVICE_NEEDS_RESET (2.1.2).
  virtual void device_failed() = 0;
};

struct QueueResources {
  Queue queue;
  const EventFd* kick;  // the transport's; readable when the driver notified the queue
};

struct DeviceResources {
  FeatureSet features;  // as negotiated, with the transport's bits
  // One per queue_max_sizes(); empty where the driver did not set the queue up.
  std::vector<std::optional<QueueResources>> queues;
  DeviceInterrupt* interrupt;  // outlives the activation
};

class VirtioDevice {
 public:
  virtual ~VirtioDevice() = default;

  virtual std::string_view name() const = 0;  // for messages: "vda"
  virtual DeviceType type() const = 0;
  // The device's own bits; the transport adds those of Feature. Constant.
  virtual FeatureSet device_features() const = 0;
  // Entries of each queue, powers of two. Constant.
  virtual std::span<const uint16_t> queue_max_sizes() const = 0;

  // Any offset and width; bytes of nothing read all-ones and ignore writes. Called with the
  // transport's lock held, from any vCPU thread, also while a worker runs.
  virtual void read_config(uint64_t offset, std::span<uint8_t> data) const = 0;
  virtual void write_config(uint64_t offset, std::span<const uint8_t> data) = 0;

  // Called on a vCPU thread (or when a machine is taken up again) while inactive; must not wait for
  // I/O. On an error the device stays
  // inactive. The transport signals every kick afterwards.
  virtual Result<void> activate(DeviceResources resources) = 0;
  // Called on a vCPU thread (or at tear-down) while active, once per activation, without a lock.
  // Begins to end the activation and never blocks: nothing new is taken from the queues, buffers in
  // flight are given back unanswered. `stopped` is called once, on any thread, perhaps before this
  // returns, and last of all: guest memory and interrupt are not touched any more. Until then the
  // device must not be destroyed or activated.
  virtual void stop(std::function<void()> stopped) = 0;
  // While active and neither stopping nor paused; never blocks. Nothing new is taken from the
  // queues, and what is in flight is carried out and answered, unless it can be taken up again as
  // if it had not begun. `paused` is called once, on any thread, perhaps before this returns. A
  // device that is paused or on its way to it can be stopped, and then `paused` may be left out.
  virtual void pause(std::function<void()> paused) = 0;
  // Of a device that is paused, or on its way to it (`paused` may then be left out): it goes on
  // with what it finds in every queue, kicked or not.
  virtual void resume() = 0;
  // Of a paused device, one per queue_max_sizes(): from where a device that is activated anew goes
  // on. Empty where the queue is not set up.
  virtual std::vector<std::optional<QueuePosition>> queue_positions() const = 0;
  // What a paused device holds beside its queues, for another one of the same kind, which gets it
  // before it is activated anew and takes or drops it: any bytes, at most max_held_bytes().
  virtual uint32_t max_held_bytes() const { return 0; }
  virtual std::vector<uint8_t> held() const { return {}; }
  virtual void hold(std::span<const uint8_t> /*held*/) {}
  // Between stop() and its end, any thread, never blocks: what the device still waits for is given
  // up, so that it stops soon, at the price of the back end if need be (Disk::abandon()).
  virtual void abandon() {}
};

// Answers a read of the configuration space whose bytes are `config`; past its end all-ones.
void read_config_bytes(std::span<const uint8_t> config, uint64_t offset, std::span<uint8_t> data);

}  // namespace hull::virtio
