// A virtual CPU's thread: run, exit, bus, and nothing else. It never does blocking I/O.
#pragma once

#include "base/thread.h"
#include "devices/bus.h"
#include "vmm/kvm.h"
#include "vmm/outcome.h"

namespace hull::vmm {

class VcpuThread {
 public:
  // `port_bus`, `mmio_bus` and `outcome` outlive this object.
  VcpuThread(Vcpu vcpu, devices::Bus& port_bus, devices::Bus& mmio_bus, Outcome& outcome);
  ~VcpuThread();  // kick() and join()
  VcpuThread(const VcpuThread&) = delete;
  VcpuThread& operator=(const VcpuThread&) = delete;

  // kHost if the host refuses the thread.
  Result<void> start();
  // Makes the thread leave the guest for good. The outcome has been recorded before. Does nothing
  // if the thread was not started or is joined.
  void kick();
  void join();

 private:
  void run();
  void handle_exit();
  void handle_port_access();
  void handle_mmio();
  void crash(std::string detail);

  Vcpu vcpu_;
  devices::Bus::Initiator ports_;
  devices::Bus::Initiator mmio_;
  Outcome& outcome_;
  Thread thread_;  // last: it uses everything above
};

}  // namespace hull::vmm
