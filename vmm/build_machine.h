// The recipe of a machine, in boot order.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/event_loop.h"
#include "config/domain.h"
#include "firmware/boot.h"
#include "vmm/machine.h"
#include "vmm/outcome.h"
#include "vmm/virtio_kinds.h"

namespace hull::vmm {

// What a machine is built from and does not own: it all outlives the machine, and serves the next
// one after a reset.
struct MachineParts {
  const Kvm& kvm;
  const config::DomainConfig& domain;
  const firmware::GuestSource& boot;
  Outcome& outcome;
  EventLoop& loop;                      // of the calling thread, which also destroys the machine
  std::span<const DeviceMaker> virtio;  // their threads run when the machine does
  bool debug_exit_port = false;
};

// The machine is complete and waits for start(). `device_tree`, if not null, gets the FDT.
Result<std::unique_ptr<Machine>> build_machine(const MachineParts& parts,
                                               std::vector<uint8_t>* device_tree = nullptr);

}  // namespace hull::vmm
