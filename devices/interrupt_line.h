// How a device reaches the guest's interrupt controller, without knowing KVM.
#pragma once

#include <cstdint>

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

// A message-signalled interrupt: what a device writes where (PCI 3.0, 6.8). Both are the guest's.
struct MsiMessage {
  uint64_t address = 0;
  uint32_t data = 0;
};

// Where such messages go. Any thread, never blocks. A message that no processor takes is lost, as
// on a real bus.
class MsiSink {
 public:
  virtual ~MsiSink() = default;
  virtual void signal(const MsiMessage& message) = 0;
};

}  // namespace hull::devices
