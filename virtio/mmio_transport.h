// Virtio over MMIO, version 2 (virtio 1.2, 4.2).
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/guest_memory.h"
#include "devices/bus.h"
#include "devices/interrupt_line.h"
#include "virtio/transport.h"

namespace hull::virtio {

class MmioTransport final : public Transport, public devices::BusDevice, private FrontendEvents {
 public:
  static constexpr uint64_t kRegisterBytes = 0x200;
  static constexpr uint64_t kQueueNotifyOffset = 0x50;

  // `memory` and `line` outlive the transport. An ioeventfd for queue i goes to kQueueNotifyOffset
  // with 4 bytes and datamatch i, on kick_fd(i); a notification that exits signals the same
  // eventfd. The destructor resets the device, so whatever its worker needs must still run.
  static Result<std::unique_ptr<MmioTransport>> create(std::unique_ptr<VirtioDevice> device,
                                                       const GuestMemory& memory,
                                                       devices::InterruptLine& line);

  Frontend& frontend() override { return *frontend_; }
  size_t queue_count() const { return frontend_->queue_count(); }
  int kick_fd(size_t queue) const { return frontend_->kick_fd(queue); }

  // Control registers answer aligned accesses of 4 bytes (4.2.2.2), all others read all-ones and
  // are dropped; the configuration space takes any.
  std::string_view name() const override;
  void read(uint64_t offset, std::span<uint8_t> data) override;
  void write(uint64_t offset, std::span<const uint8_t> data) override;

  void save(StateWriter& out) const override;
  Result<void> load(StateReader& in) override;

 private:
  explicit MmioTransport(devices::InterruptLine& line) : line_(line) {}
  uint32_t read_register(uint64_t offset) const;
  void write_register(uint64_t offset, uint32_t value);
  void acknowledge(uint32_t bits);
  void raise(uint32_t bit);

  void used_buffers(size_t queue) override;
  void config_changed() override;
  void device_failed() override;
  void was_reset() override;

  devices::InterruptLine& line_;

  // Each is one word that vCPUs and workers share without an order between them: no lock.
  std::atomic<uint32_t> device_features_select_{0};
  std::atomic<uint32_t> driver_features_select_{0};
  std::atomic<uint32_t> queue_select_{0};
  std::atomic<uint32_t> interrupt_status_{0};

  // Last: its destructor resets the device, which may still interrupt.
  std::unique_ptr<Frontend> frontend_;
};

}  // namespace hull::virtio
