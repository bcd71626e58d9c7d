// RAII over the KVM ioctls that every architecture has; no policy. Each call is one ioctl, its
// error names the ioctl. The order in which a machine issues them is in vmm/build_machine.cc; the
// architecture's own ioctls are in vmm/x86/kvm_cpu.h and vmm/x86/board.cc.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/guest_memory.h"
#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hull::vmm {

// One virtual CPU. Used by its thread alone once that runs.
class Vcpu {
 public:
  unsigned index() const { return index_; }
  const kvm_run& run_state() const { return *run(); }
  kvm_run& run_state() { return *run(); }
  int fd() const { return fd_.get(); }

  // KVM_RUN. False: interrupted by a signal or immediate_exit, nothing to handle.
  Result<bool> enter();
  // From now on a kick of the thread (base/thread.h) makes the present or next enter() return
  // false, until forget_kicks(). Not supported by the host: kHost.
  Result<void> let_kicks_interrupt_the_guest();
  static void forget_kicks();  // of the calling thread
  // enter() then finishes the access that the last exit was about, and returns false.
  void set_immediate_exit(bool on);

 private:
  friend class Vm;
  Vcpu(unsigned index, UniqueFd fd, Mapping run)
      : index_(index), fd_(std::move(fd)), run_(std::move(run)) {}
  kvm_run* run() const { return reinterpret_cast<kvm_run*>(run_.data()); }

  unsigned index_;
  bool is_unstarted_ = index_ != 0;  // may be, as far as its thread knows
  UniqueFd fd_;
  Mapping run_;
};

// A write of the guest that signals an eventfd.
struct IoEvent {
  int event_fd;
  uint64_t address;
  uint32_t length = 0;                           // of the write: 1, 2, 4, 8 bytes; 0: any
  std::optional<uint64_t> value = std::nullopt;  // this value alone; needs a length
  bool port = false;                             // `address` is a port
};

// What the guest may do with a region of memory without leaving for it.
enum class SlotAccess : uint8_t { kReadWrite, kReadOnly, kNone };

// The memory slots of a region, which begins at `host` in our address space: one, or several where
// it is larger than a slot may be. kNone: of size 0, which removes them.
std::vector<kvm_userspace_memory_region> slots_of_region(size_t index, const MemoryRegion& region,
                                                         uintptr_t host, SlotAccess access);

class Vm {
 public:
  int fd() const { return fd_.get(); }

  // All regions of `memory`, which outlives the VM: ROM and flash for reading alone.
  Result<void> set_memory(const GuestMemory& memory);
  // The same for one region, also while vCPUs run. From one access to another by way of kNone:
  // there every access leaves the guest, as those do that write where it may only read.
  Result<void> set_slots(const GuestMemory& memory, size_t region, SlotAccess access);
  // Each signal of `event_fd` is one edge on `gsi`, until disconnected or the VM ends.
  Result<void> connect_irqfd(int event_fd, uint32_t gsi);
  Result<void> disconnect_irqfd(int event_fd, uint32_t gsi);
  // The guest's write signals the descriptor instead of leaving the kernel, until disconnected or
  // the VM ends. On some hosts a disconnection takes milliseconds: not on a path that counts.
  Result<void> connect(const IoEvent& event);
  Result<void> disconnect(const IoEvent& event);
  Result<void> set_irq_level(uint32_t gsi, bool asserted) const;
  // False: no vCPU takes it (the guest chose a destination or vector that is not there).
  bool signal_msi(uint64_t address, uint32_t data) const;
  // Replaces the whole table, the lines of the interrupt controllers included (vmm/gsi_routes.h).
  Result<void> set_gsi_routes(std::span<const kvm_irq_routing_entry> routes);

  Result<Vcpu> create_vcpu(unsigned index);

 private:
  friend class Kvm;
  Vm(UniqueFd fd, size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}
  UniqueFd fd_;
  size_t run_size_;
};

class Kvm {
 public:
  // Errors say what to do: load the module, join the group, allow nesting.
  static Result<Kvm> open();

  // The value of KVM_CHECK_EXTENSION; 0 where the host does not know it.
  int capability(int extension) const;
  unsigned max_vcpus() const;
  Result<Vm> create_vm() const;
  int fd() const { return fd_.get(); }

 private:
  Kvm(UniqueFd fd, size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}
  UniqueFd fd_;
  size_t run_size_;
};

}  // namespace hull::vmm
