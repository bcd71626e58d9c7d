// The two ways in which devices reach the in-kernel interrupt controller.
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

}  // namespace hull::vmm
