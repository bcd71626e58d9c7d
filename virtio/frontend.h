// What the driver sees of a device, whatever the transport's register layout: feature negotiation,
// status, queue registers, configuration and its generation, activation and reset (virtio 1.2, 2.1
// to 2.5, 3.1).
//
// A reset ends when the device has let go of the driver's buffers. The status reads as before until
// then, as 2.4 has it; that takes as long as the back end takes for what is in flight, for which no
// vCPU waits longer than kQuickReset.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "base/guest_memory.h"
#include "base/mutex.h"
#include "base/state.h"
#include "virtio/device.h"
#include "virtio/status_machine.h"

namespace hull::virtio {

enum class QueueArea : uint8_t { kDescriptors, kDriver, kDevice };

// What the transport is to the frontend. All calls take no lock and never block.
class FrontendEvents : public DeviceInterrupt {
 public:
  // A reset is complete: registers that are the transport's own are as they were at first. Called
  // with the frontend's lock held.
  virtual void was_reset() = 0;
};

// Total: any value at any time from any thread. A queue index that does not exist reads as not
// available and ignores writes. Locks: mutex_ is held while the device activates or answers for its
// configuration, never while it stops, so that a worker's last interrupts cannot dead-lock.
class Frontend {
 public:
  using Clock = std::chrono::steady_clock;

  // A driver need not read the status after a reset over MMIO, and Linux does not: what is in
  // flight on a healthy back end is waited for this long.
  static constexpr std::chrono::milliseconds kQuickReset{100};
  // From then on the device gives up its back end's requests when the driver asks again.
  static constexpr std::chrono::seconds kResetPatience{30};

  // `events` outlives the frontend.
  static Result<std::unique_ptr<Frontend>> create(
      std::unique_ptr<VirtioDevice> device, const GuestMemory& memory, FrontendEvents& events,
      std::chrono::milliseconds reset_patience = kResetPatience);
  // Stops the device if it is active; CHECKs that it stops soon once it was abandoned. Whose back
  // end may hang must have seen stop() succeed before.
  ~Frontend();

  VirtioDevice& device() const { return *device_; }

  // `word` selects 32 bits; words past 1 are zero.
  uint32_t offered_features(uint32_t word) const;
  void accept_features(uint32_t word, uint32_t bits);

  uint8_t status();
  // kReset: begun, and waited for as kQuickReset says; complete as soon as the status reads 0.
  StatusAction write_status(uint8_t value);
  // Resets as the driver would, for tear-down: `stopped` is called once, on any thread, perhaps
  // before this returns, when the device is inactive. Never blocks.
  void stop(std::function<void()> stopped);
  // What a stop() waits for is given up. Never blocks.
  void abandon();
  void set_needs_reset() { needs_reset_.store(true, std::memory_order_release); }

  // The driver stands still: vCPUs are out of the guest. `paused` is called once, on any thread,
  // perhaps before this returns, when nothing is in flight and guest memory is not touched any
  // more.
  void pause(std::function<void()> paused);
  // Goes on after pause(), whether that has come about or not, or after apply(). Every queue is
  // looked at, and its driver interrupted, once: kicks and interrupts that got lost do no harm.
  void resume();

  // What the driver has set up and how far the queues have got. Of a paused frontend.
  void save(StateWriter& out) const;
  // What save() wrote, checked against this device: for apply(), which the inactive frontend of a
  // device of the same kind takes, before resume().
  struct Saved;
  Result<Saved> read(StateReader& in) const;
  void apply(const Saved& saved);

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
  // 2.5.3: another one as soon as the configuration may read differently.
  uint32_t config_generation() const { return config_generation_.load(); }
  void next_config_generation() { config_generation_.fetch_add(1); }

 private:
  enum class Phase : uint8_t { kInactive, kActive, kStopping };
  struct QueueRegisters {
    uint32_t size = 0;
    uint64_t descriptors = 0;
    uint64_t driver = 0;
    uint64_t device = 0;
    bool ready = false;
  };
  Frontend(std::unique_ptr<VirtioDevice> device, const GuestMemory& memory, FrontendEvents& events,
           std::vector<EventFd> kicks, std::chrono::milliseconds reset_patience);
  FeatureSet all_offered() const;
  bool features_acceptable() const REQUIRES(mutex_);
  QueueRegisters* writable_queue(uint32_t queue) REQUIRES(mutex_);
  Result<void> activate() REQUIRES(mutex_);
  void report(const Result<void>& activated);
  Result<DeviceResources> build_resources() REQUIRES(mutex_);
  void forget_driver() REQUIRES(mutex_);
  void on_stopped();
  bool wait_until_inactive(Clock::time_point deadline);

  // Constant after construction.
  const std::unique_ptr<VirtioDevice> device_;
  const GuestMemory& memory_;
  FrontendEvents& events_;
  const std::vector<EventFd> kicks_;
  const std::chrono::milliseconds reset_patience_;

  std::atomic<bool> needs_reset_{false};
  std::atomic<uint32_t> config_generation_{0};

  mutable Mutex mutex_;
  std::condition_variable_any inactive_;
  StatusMachine status_ GUARDED_BY(mutex_);
  uint64_t driver_features_ GUARDED_BY(mutex_) = 0;
  std::vector<QueueRegisters> queues_ GUARDED_BY(mutex_);
  Phase phase_ GUARDED_BY(mutex_) = Phase::kInactive;  // kStopping: writes are refused
  Clock::time_point abandon_at_ GUARDED_BY(mutex_);    // while stopping
  std::vector<std::function<void()>> when_stopped_ GUARDED_BY(mutex_);
  // Where the queues of the next activation begin; empty: at 0.
  std::vector<QueuePosition> positions_ GUARDED_BY(mutex_);
};

struct Frontend::Saved {
  uint8_t status = 0;
  bool needs_reset = false;
  bool active = false;
  uint64_t driver_features = 0;
  uint32_t config_generation = 0;
  std::vector<QueueRegisters> queues = {};
  std::vector<QueuePosition> positions = {};
  std::vector<uint8_t> held = {};
};

}  // namespace hull::virtio
