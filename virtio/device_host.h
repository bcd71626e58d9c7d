// The part of a transport that does not depend on its register layout: feature negotiation, status,
// queue registers, activation and reset (virtio 1.2, 2.1 to 2.4, 3.1).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/guest_memory.h"
#include "base/mutex.h"
#include "virtio/device.h"
#include "virtio/status_machine.h"

namespace hull::virtio {

enum class QueueArea : uint8_t { kDescriptors, kDriver, kDevice };

// Total: any value at any time from any thread. A queue index that does not exist reads as not
// available and ignores writes. Locks: mutex_ is held while the device activates or answers for its
// configuration, never while it resets, so that a worker's last interrupts cannot dead-lock.
class DeviceHost {
 public:
  // `interrupt` is the transport's and outlives the host.
  static Result<std::unique_ptr<DeviceHost>> create(std::unique_ptr<VirtioDevice> device,
                                                    const GuestMemory& memory,
                                                    DeviceInterrupt& interrupt);
  ~DeviceHost();  // resets the device if it is active

  VirtioDevice& device() const { return *device_; }

  // `word` selects 32 bits; words past 1 are zero.
  uint32_t offered_features(uint32_t word) const;
  void accept_features(uint32_t word, uint32_t bits);

  uint8_t status() const;
  // kReset: the device was reset before this returned.
  StatusAction write_status(uint8_t value);
  void set_needs_reset() { needs_reset_.store(true, std::memory_order_release); }

  size_t queue_count() const { return kicks_.size(); }
  uint16_t queue_max_size(uint32_t queue) const;  // 0: not available
  bool queue_ready(uint32_t queue) const;
  void set_queue_size(uint32_t queue, uint32_t size);
  // `high` selects the upper 32 bits of the address.
  void set_queue_area(uint32_t queue, QueueArea area, bool high, uint32_t value);
  void set_queue_ready(uint32_t queue, bool ready);
  // The kick eventfd: what ioeventfds signal, and what a notification that exits signals.
  int kick_fd(size_t queue) const { return kicks_[queue].fd(); }
  void notify_queue(uint32_t queue) const;

  void read_config(uint64_t offset, std::span<uint8_t> data) const;
  void write_config(uint64_t offset, std::span<const uint8_t> data);

 private:
  struct QueueRegisters {
    uint32_t size = 0;
    uint64_t descriptors = 0;
    uint64_t driver = 0;
    uint64_t device = 0;
    bool ready = false;
  };
  DeviceHost(std::unique_ptr<VirtioDevice> device, const GuestMemory& memory,
             DeviceInterrupt& interrupt, std::vector<EventFd> kicks);
  FeatureSet all_offered() const;
  bool features_acceptable() const REQUIRES(mutex_);
  QueueRegisters* writable_queue(uint32_t queue) REQUIRES(mutex_);
  void activate() REQUIRES(mutex_);
  Result<DeviceResources> build_resources() REQUIRES(mutex_);
  void reset_device();

  // Constant after construction.
  const std::unique_ptr<VirtioDevice> device_;
  const GuestMemory& memory_;
  DeviceInterrupt& interrupt_;
  const std::vector<EventFd> kicks_;

  std::atomic<bool> needs_reset_{false};

  mutable Mutex mutex_;
  StatusMachine status_ GUARDED_BY(mutex_);
  uint64_t driver_features_ GUARDED_BY(mutex_) = 0;
  std::vector<QueueRegisters> queues_ GUARDED_BY(mutex_);
  bool active_ GUARDED_BY(mutex_) = false;
  bool resetting_ GUARDED_BY(mutex_) = false;  // writes are refused meanwhile
};

}  // namespace hull::virtio
