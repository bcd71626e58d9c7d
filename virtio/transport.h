// A transport: how a frontend appears to the guest, and how the device behind it interrupts. MMIO
// is one (mmio_transport.h); whoever builds a machine knows this interface alone, so that a device
// does not depend on where it is attached.
//
// DeviceInterrupt is what transports have in common below: used_buffers() names the queue and
// config_changed() the configuration, so that an edge on one line, a level, or a message for each
// queue can come of it.
#pragma once

#include <memory>

#include "base/state.h"
#include "virtio/frontend.h"

namespace hull::virtio {

// Stateful: registers of its own and the frontend, while that is paused; load() comes before
// Frontend::resume().
class Transport : public Stateful {
 public:
  virtual Frontend& frontend() = 0;
};

// A place for virtio devices: slots of an MMIO window, a PCI root.
class TransportFactory {
 public:
  virtual ~TransportFactory() = default;
  // Gives the device an address and interrupts, and puts it on the bus. kInvalidConfig if there is
  // no place left. The factory takes it off the bus when it is destroyed, before the transport.
  virtual Result<std::unique_ptr<Transport>> attach(std::unique_ptr<VirtioDevice> device) = 0;
};

}  // namespace hull::virtio
