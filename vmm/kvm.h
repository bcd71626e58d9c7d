// RAII over the KVM ioctls; no policy. Each call is one ioctl, its error names the ioctl. The order
// in which a machine issues them is in vmm/build_machine.cc.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/guest_memory.h"
#include "base/mapping.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hull::vmm {

// struct kvm_cpuid2 with room for as many entries as KVM takes. Not the header's struct: its
// flexible array is declared through an empty struct, which has a size in C++ and shifts the
// entries.
class CpuidTable {
 public:
  static constexpr uint32_t kMaxEntries = 256;

  std::span<kvm_cpuid_entry2> entries() { return {block_.entries, block_.count}; }
  std::span<const kvm_cpuid_entry2> entries() const { return {block_.entries, block_.count}; }
  kvm_cpuid_entry2* find(uint32_t function, uint32_t index = 0);
  bool append(const kvm_cpuid_entry2& entry);  // false: full
  void remove(uint32_t function);              // all its indices

 private:
  friend class Kvm;
  friend class Vcpu;
  struct Block {
    uint32_t count;
    uint32_t padding;
    kvm_cpuid_entry2 entries[kMaxEntries];
  };
  static_assert(sizeof(Block) == 8 + kMaxEntries * sizeof(kvm_cpuid_entry2));
  Block block_{};
};

// One virtual CPU. Used by its thread alone once that runs.
class Vcpu {
 public:
  unsigned index() const { return index_; }
  const kvm_run& run_state() const { return *run(); }
  kvm_run& run_state() { return *run(); }
  int fd() const { return fd_.get(); }

  Result<void> set_cpuid(const CpuidTable& cpuid);
  Result<kvm_sregs> sregs() const;
  Result<void> set_sregs(const kvm_sregs& sregs);
  Result<kvm_regs> regs() const;
  Result<void> set_regs(const kvm_regs& regs);
  Result<kvm_lapic_state> lapic() const;
  Result<void> set_lapic(const kvm_lapic_state& state);
  // Sets one MSR; false if this host's KVM does not accept it.
  Result<bool> set_msr(uint32_t index, uint64_t value);

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
  UniqueFd fd_;
  Mapping run_;
};

class Vm {
 public:
  int fd() const { return fd_.get(); }

  Result<void> set_memory(const GuestMemory& memory);
  // Three pages below 4 GiB that KVM uses on Intel hosts; outside all memory slots.
  Result<void> set_tss_address(uint64_t address);
  Result<void> set_identity_map_address(uint64_t address);
  Result<void> create_irqchip();
  Result<void> create_pit();
  // Each signal of `event_fd` is one edge on `gsi`.
  Result<void> connect_irqfd(int event_fd, uint32_t gsi);
  // A 4-byte write of `value` to `address` signals `event_fd` instead of leaving the kernel.
  Result<void> connect_ioeventfd(int event_fd, uint64_t address, uint32_t value);
  Result<void> set_irq_level(uint32_t gsi, bool asserted) const;
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
  Result<CpuidTable> supported_cpuid() const;
  Result<Vm> create_vm() const;
  int fd() const { return fd_.get(); }

 private:
  Kvm(UniqueFd fd, size_t run_size) : fd_(std::move(fd)), run_size_(run_size) {}
  UniqueFd fd_;
  size_t run_size_;
};

}  // namespace hull::vmm
