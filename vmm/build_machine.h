// The recipe of a machine, in boot order.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/event_loop.h"
#include "blockcore/disk.h"
#include "blockcore/engine/io_engine.h"
#include "config/domain.h"
#include "firmware/boot.h"
#include "virtio/net_backend.h"
#include "virtio/worker_thread.h"
#include "vmm/machine.h"
#include "vmm/outcome.h"

namespace hull::vmm {

// What a machine is built from and does not own: it all outlives the machine, and serves the next
// one after a reset.
struct MachineParts {
  const Kvm& kvm;
  const config::DomainConfig& domain;
  const firmware::GuestSource& boot;
  Outcome& outcome;
  EventLoop& loop;  // of the calling thread, which also destroys the machine
  std::span<const std::unique_ptr<blockcore::Disk>> disks;        // as domain.disks
  std::span<const std::unique_ptr<virtio::NetBackend>> networks;  // as domain.networks, may be null
  std::span<blockcore::IoEngine* const> engines;  // of the disks; they run when the machine does
  // One for each NIC, then one for the entropy device if there is one.
  std::span<const std::unique_ptr<virtio::WorkerThread>> workers;
  // DomainOptions::on_disk_error
  std::function<void(const std::string& disk, const Error&)> on_disk_error = {};
  bool debug_exit_port = false;
};

// The machine is complete and waits for start(). `device_tree`, if not null, gets the FDT.
Result<std::unique_ptr<Machine>> build_machine(const MachineParts& parts,
                                               std::vector<uint8_t>* device_tree = nullptr);

}  // namespace hull::vmm
