// How a device reaches the guest's interrupt controller, without knowing KVM.
#pragma once

namespace hull::devices {

// An edge-triggered line (COM1, i8042, virtio-mmio): every trigger() is one edge. Any thread, never
// blocks.
class InterruptLine {
 public:
  virtual ~InterruptLine() = default;
  virtual void trigger() = 0;
};

// A level-triggered line (the ACPI SCI). Any thread, never blocks.
class LevelInterruptLine {
 public:
  virtual ~LevelInterruptLine() = default;
  virtual void set(bool asserted) = 0;
};

}  // namespace hull::devices
