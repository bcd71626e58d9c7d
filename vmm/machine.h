// A virtual machine that has been built: it owns, starts, pauses and ends; build_machine() knows
// how the parts go together. After a reset by the guest a new Machine takes the place of the old
// one.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/guest_memory.h"
#include "base/state.h"
#include "devices/bus.h"
#include "virtio/transport.h"
#include "vmm/arch.h"
#include "vmm/kvm.h"
#include "vmm/vcpu_thread.h"

namespace hull::vmm {

class Machine {
 public:
  // Ends and joins the vCPUs, then resets the devices, then the rest.
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Starts the vCPUs' threads, which wait for the order to run. Once.
  Result<void> start();
  // To all vCPUs, after start(). They run on until they have seen it: orders().
  void order(VcpuOrder order);
  const VcpuOrders& orders() const { return *orders_; }

  // While the vCPUs are paused: the virtio devices answer what is in flight and take nothing new.
  // True when that is done, which is waited for until `limit`; to be called again if not.
  bool pause_devices(std::chrono::milliseconds limit);
  // Those that pause_devices() still waits for, as people call them: "vda, vdb".
  std::string busy_devices() const;
  // While the vCPUs are still paused, before the order to run; also before pause_devices() has
  // become true. The devices go on, and the guest can know that it has stood still.
  void prepare_to_go_on();
  // After the vCPUs have ended: nothing more is taken from the virtio devices' queues, and what is
  // in flight comes to its end. True when nothing touches the guest's memory any more, which is
  // waited for until `limit`; to be called again if not. Only then may the machine be destroyed.
  bool drain_devices(std::chrono::milliseconds limit);
  // What drain_devices() waits for is given up, with the connections to servers that it takes.
  // Never blocks.
  void abandon_devices();

  // All that the guest can see of the machine. While vCPUs and devices are paused.
  Result<void> save(StateWriter& out);
  // What save() wrote, into a machine that was built from the same configuration, before start().
  // After an error the machine is only good for being destroyed.
  Result<void> load(StateReader& in);

  devices::Serial16550& serial() { return board_->serial(); }
  devices::AcpiPm& power() { return board_->power(); }

 private:
  friend class MachineBuilder;
  struct Drain;
  Machine(Vm vm, GuestMemory memory) : memory_(std::move(memory)), vm_(std::move(vm)) {}

  // In the order of construction; torn down from the end.
  GuestMemory memory_;
  Vm vm_;
  devices::Bus ports_;
  devices::Bus mmio_;
  std::unique_ptr<arch::Board> board_;
  std::vector<std::unique_ptr<virtio::Transport>> virtio_;
  std::unique_ptr<virtio::TransportFactory> slots_;
  std::unique_ptr<VcpuOrders> orders_;
  std::shared_ptr<Drain> pause_;  // once it has begun, until prepare_to_go_on()
  std::shared_ptr<Drain> drain_;  // once it has begun
  // Last, so destroyed first: the threads call into everything above.
  std::vector<std::unique_ptr<VcpuThread>> vcpus_;
};

}  // namespace hull::vmm
