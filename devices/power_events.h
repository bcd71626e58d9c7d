// What a guest does to its own machine, as told to the owner of the VM (vmm/ implements it).
#pragma once

#include <cstdint>

namespace hull::devices {

// Called from any vCPU thread, with the calling device's lock held: implementations only record the
// event and wake somebody. They never block and never call back into a device.
class PowerEvents {
 public:
  virtual ~PowerEvents() = default;
  virtual void power_off() = 0;
  virtual void reset() = 0;
  virtual void guest_panicked() = 0;
  virtual void debug_exit(uint32_t code) = 0;  // a test guest's verdict
};

}  // namespace hull::devices
