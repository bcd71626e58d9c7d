// The ways in which devices reach the in-kernel interrupt controller.
#pragma once

#include <cstdint>
#include <memory>

#include "base/event_fd.h"
#include "devices/interrupt_line.h"
#include "vmm/kvm.h"

namespace hull::vmm {

// An irqfd: one write(2) is one edge, from any thread, without an ioctl on the VM.
class IrqfdLine final : public devices::InterruptLine {
 public:
  static Result<std::unique_ptr<IrqfdLine>> create(Vm& vm, uint32_t gsi);
  void trigger() override { event_.signal(); }
  int event_fd() const { return event_.fd(); }  // for who triggers it without us (vhost)

 private:
  explicit IrqfdLine(EventFd event) : event_(std::move(event)) {}
  EventFd event_;
};

// KVM_IRQ_LINE: for the SCI, which is rare.
class GsiLevelLine final : public devices::LevelInterruptLine {
 public:
  // `vm` outlives the line.
  GsiLevelLine(const Vm& vm, uint32_t gsi) : vm_(vm), gsi_(gsi) {}
  void set(bool asserted) override;

 private:
  const Vm& vm_;
  uint32_t gsi_;
};

// KVM_SIGNAL_MSI: as quick as an irqfd with a route to the message, without a route, and without a
// race against a guest that changes or masks the message: the device reads it under its own lock.
class VmMsiSink final : public devices::MsiSink {
 public:
  // `vm` outlives the sink.
  explicit VmMsiSink(const Vm& vm) : vm_(vm) {}
  void signal(const devices::MsiMessage& message) override;

 private:
  const Vm& vm_;
};

}  // namespace hull::vmm
