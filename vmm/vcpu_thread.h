// A virtual CPU's thread: run, exit, bus, and nothing else. It does no I/O itself and waits for
// none, but for the short while that a driver's reset of a virtio device may take
// (virtio::Frontend::kQuickReset).
#pragma once

#include "base/thread.h"
#include "devices/bus.h"
#include "vmm/kvm.h"
#include "vmm/outcome.h"
#include "vmm/vcpu_orders.h"

namespace hull::vmm {

class VcpuThread {
 public:
  // All that is referred to outlives this object.
  VcpuThread(Vcpu vcpu, devices::Bus& port_bus, devices::Bus& mmio_bus, VcpuOrders& orders,
             Outcome& outcome);
  // The order kEnd has been given, if the thread was started.
  ~VcpuThread();
  VcpuThread(const VcpuThread&) = delete;
  VcpuThread& operator=(const VcpuThread&) = delete;

  // kHost if there can be no thread. It does as VcpuOrders says.
  Result<void> start();
  // Takes the thread out of the guest, to look at a new order. Does nothing without a thread.
  void kick() const;

  // The owner's thread, while this one is paused or not yet started.
  Vcpu& vcpu() { return vcpu_; }

 private:
  void obey();
  void run_guest(uint64_t order);
  void finish_access();
  void handle_exit();
  void handle_port_access();
  void handle_mmio();
  void fail(const Error& error);
  void crash(std::string detail);

  Vcpu vcpu_;
  devices::Bus::Initiator ports_;
  devices::Bus::Initiator mmio_;
  VcpuOrders& orders_;
  Outcome& outcome_;
  Thread thread_;  // last: it uses everything above
};

}  // namespace hull::vmm
