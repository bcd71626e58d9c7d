#include "vmm/x86/registers.h"

#include <cstring>

#include "base/log.h"
#include "vmm/x86/kvm_cpu.h"

namespace hull::vmm::x86 {

namespace {

// Intel SDM volume 4.
constexpr uint32_t kMsrMiscEnable = 0x1a0;
constexpr uint64_t kMiscEnableFastStrings = 1;
constexpr uint32_t kMsrMtrrDefType = 0x2ff;
constexpr uint64_t kMtrrEnabledWriteBack = 1u << 11 | 6;

// Local APIC registers, Intel SDM volume 3, table 11-1.
constexpr size_t kApicLvtLint0 = 0x350;
constexpr size_t kApicLvtLint1 = 0x360;
constexpr uint32_t kDeliverExtInt = 7u << 8;
constexpr uint32_t kDeliverNmi = 4u << 8;

kvm_segment to_kvm(const firmware::Segment& segment) {
  kvm_segment result{};
  result.limit = segment.limit;
  result.selector = segment.selector;
  result.type = segment.type;
  result.present = 1;
  result.s = segment.code_or_data;
  result.l = segment.long_mode;
  result.db = segment.default_32;
  result.g = segment.granular;
  return result;
}

}  // namespace

Result<void> set_boot_registers(Vcpu& vcpu, const firmware::EntryState& entry) {
  kvm_sregs sregs = TRY(get_sregs(vcpu));
  sregs.cs = to_kvm(entry.code);
  sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = to_kvm(entry.data);
  sregs.tr = to_kvm(entry.task);
  sregs.gdt = {.base = entry.gdt_base, .limit = entry.gdt_limit, .padding = {}};
  sregs.idt = {};
  sregs.cr0 = entry.cr0;
  sregs.cr3 = entry.cr3;
  sregs.cr4 = entry.cr4;
  sregs.efer = entry.efer;
  TRY(set_sregs(vcpu, sregs));
  kvm_regs regs{};
  regs.rip = entry.rip;
  regs.rbx = entry.rbx;
  regs.rsi = entry.rsi;
  regs.rflags = entry.rflags;
  return set_regs(vcpu, regs);
}

Result<void> set_boot_msrs(Vcpu& vcpu) {
  constexpr std::pair<uint32_t, uint64_t> kMsrs[] = {{kMsrMiscEnable, kMiscEnableFastStrings},
                                                     {kMsrMtrrDefType, kMtrrEnabledWriteBack}};
  for (const auto& [index, value] : kMsrs)
    if (!TRY(set_msr(vcpu, index, value)))
      LOG_DEBUG("vcpu {}: this host's KVM refuses MSR {:#x} = {:#x}", vcpu.index(), index, value);
  return {};
}

Result<void> set_local_interrupts(Vcpu& vcpu) {
  kvm_lapic_state state = TRY(get_lapic(vcpu));
  std::memcpy(state.regs + kApicLvtLint0, &kDeliverExtInt, sizeof kDeliverExtInt);
  std::memcpy(state.regs + kApicLvtLint1, &kDeliverNmi, sizeof kDeliverNmi);
  return set_lapic(vcpu, state);
}

}  // namespace hull::vmm::x86
