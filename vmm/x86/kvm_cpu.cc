#include "vmm/x86/kvm_cpu.h"

#include <algorithm>

#include "vmm/kvm_ioctl.h"

namespace hull::vmm::x86 {

namespace {

// The numbers of ioctls whose argument has a flexible array: the kernel counts its 8-byte head
// only, while in C++ the header's structs are larger (see CpuidTable).
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, uint64_t);
constexpr unsigned long kGetMsrs = _IOWR(KVMIO, 0x88, uint64_t);
constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, uint64_t);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, uint64_t);

// struct kvm_msrs with one entry.
struct OneMsr {
  uint32_t count;
  uint32_t padding;
  kvm_msr_entry entry;
};

}  // namespace

kvm_cpuid_entry2* CpuidTable::find(uint32_t function, uint32_t index) {
  for (kvm_cpuid_entry2& entry : entries()) {
    const bool indexed = (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0;
    if (entry.function == function && (!indexed || entry.index == index)) return &entry;
  }
  return nullptr;
}

bool CpuidTable::append(const kvm_cpuid_entry2& entry) {
  if (block_.count >= kMaxEntries) return false;
  block_.entries[block_.count++] = entry;
  return true;
}

void CpuidTable::remove(uint32_t function) {
  const auto is_it = [function](const kvm_cpuid_entry2& e) { return e.function == function; };
  block_.count =
      static_cast<uint32_t>(std::ranges::remove_if(entries(), is_it).begin() - entries().begin());
}

Result<CpuidTable> supported_cpuid(const Kvm& kvm) {
  CpuidTable table;
  table.block_.count = CpuidTable::kMaxEntries;
  TRY(KVM_CALL(kvm.fd(), kGetSupportedCpuid, &table.block_));
  return table;
}

Result<void> set_cpuid(Vcpu& vcpu, const CpuidTable& cpuid) {
  return KVM_CALL(vcpu.fd(), kSetCpuid2, &cpuid.block_);
}

Result<kvm_sregs> get_sregs(const Vcpu& vcpu) {
  kvm_sregs sregs{};
  TRY(KVM_CALL(vcpu.fd(), KVM_GET_SREGS, &sregs));
  return sregs;
}

Result<void> set_sregs(Vcpu& vcpu, const kvm_sregs& sregs) {
  return KVM_CALL(vcpu.fd(), KVM_SET_SREGS, &sregs);
}

Result<kvm_regs> get_regs(const Vcpu& vcpu) {
  kvm_regs regs{};
  TRY(KVM_CALL(vcpu.fd(), KVM_GET_REGS, &regs));
  return regs;
}

Result<void> set_regs(Vcpu& vcpu, const kvm_regs& regs) {
  return KVM_CALL(vcpu.fd(), KVM_SET_REGS, &regs);
}

Result<kvm_lapic_state> get_lapic(const Vcpu& vcpu) {
  kvm_lapic_state state{};
  TRY(KVM_CALL(vcpu.fd(), KVM_GET_LAPIC, &state));
  return state;
}

Result<void> set_lapic(Vcpu& vcpu, const kvm_lapic_state& state) {
  return KVM_CALL(vcpu.fd(), KVM_SET_LAPIC, &state);
}

// The result of both ioctls is the number of MSRs that were read or set.
Result<std::optional<uint64_t>> get_msr(const Vcpu& vcpu, uint32_t index) {
  OneMsr msr{.count = 1, .padding = 0, .entry = {.index = index, .reserved = 0, .data = 0}};
  if (TRY(KVM_VALUE(vcpu.fd(), kGetMsrs, &msr)) != 1) return std::nullopt;
  return msr.entry.data;
}

Result<bool> set_msr(Vcpu& vcpu, uint32_t index, uint64_t value) {
  OneMsr msr{.count = 1, .padding = 0, .entry = {.index = index, .reserved = 0, .data = value}};
  return TRY(KVM_VALUE(vcpu.fd(), kSetMsrs, &msr)) == 1;
}

}  // namespace hull::vmm::x86
