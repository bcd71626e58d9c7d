// The ioctls on a vCPU that only x86 has. Like vmm/kvm.h: one ioctl each, no policy.
#pragma once

#include <linux/kvm.h>

#include <cstdint>
#include <span>

#include "base/result.h"
#include "vmm/kvm.h"

namespace hull::vmm::x86 {

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
  friend Result<CpuidTable> supported_cpuid(const Kvm& kvm);
  friend Result<void> set_cpuid(Vcpu& vcpu, const CpuidTable& cpuid);
  struct Block {
    uint32_t count;
    uint32_t padding;
    kvm_cpuid_entry2 entries[kMaxEntries];
  };
  static_assert(sizeof(Block) == 8 + kMaxEntries * sizeof(kvm_cpuid_entry2));
  Block block_{};
};

// struct kvm_xsave without its flexible array, which is for features that hull does not ask for,
// and which makes the header's struct larger in C++ than the kernel's.
struct XsaveArea {
  uint32_t region[1024];
};
inline constexpr unsigned long kGetXsave = _IOR(KVMIO, 0xa4, XsaveArea);
inline constexpr unsigned long kSetXsave = _IOW(KVMIO, 0xa5, XsaveArea);

// What this host's KVM can show to a guest.
Result<CpuidTable> supported_cpuid(const Kvm& kvm);

Result<void> set_cpuid(Vcpu& vcpu, const CpuidTable& cpuid);
Result<kvm_sregs> get_sregs(const Vcpu& vcpu);
Result<void> set_sregs(Vcpu& vcpu, const kvm_sregs& sregs);
Result<kvm_regs> get_regs(const Vcpu& vcpu);
Result<void> set_regs(Vcpu& vcpu, const kvm_regs& regs);
Result<kvm_lapic_state> get_lapic(const Vcpu& vcpu);
Result<void> set_lapic(Vcpu& vcpu, const kvm_lapic_state& state);
// nullopt, false: this host's KVM does not have the MSR, or not with this value.
Result<std::optional<uint64_t>> get_msr(const Vcpu& vcpu, uint32_t index);
Result<bool> set_msr(Vcpu& vcpu, uint32_t index, uint64_t value);

}  // namespace hull::vmm::x86
