// Places for virtio devices on the MMIO bus: register page, interrupt line, and an ioeventfd for
// each queue.
#pragma once

#include <memory>
#include <vector>

#include "base/guest_memory.h"
#include "devices/bus.h"
#include "virtio/transport.h"
#include "vmm/arch.h"
#include "vmm/kvm.h"

namespace hull::vmm {

class MmioSlots final : public virtio::TransportFactory {
 public:
  // All of them outlive the slots; the board says where they are, and how many there can be.
  MmioSlots(arch::Board& board, Vm& vm, devices::Bus& bus, const GuestMemory& memory)
      : board_(board), vm_(vm), bus_(bus), memory_(memory) {}

  Result<std::unique_ptr<virtio::Transport>> attach(
      std::unique_ptr<virtio::VirtioDevice> device) override;

 private:
  arch::Board& board_;
  Vm& vm_;
  devices::Bus& bus_;
  const GuestMemory& memory_;
  std::vector<devices::Bus::Region> regions_;
};

}  // namespace hull::vmm
