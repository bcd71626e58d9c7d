#include "vmm/x86/vcpu_state.h"

#include <linux/kvm.h>

#include <algorithm>
#include <utility>

#include "vmm/kvm_ioctl.h"
#include "vmm/x86/kvm_cpu.h"

namespace hull::vmm::x86 {

namespace {

constexpr uint32_t kVcpuStateVersion = 1;
constexpr size_t kMaxMsrs = 1024;
// Emulated Hyper-V's, which hull does not show; some of them count by themselves.
constexpr uint32_t kFirstHyperVMsr = 0x40000000, kLastHyperVMsr = 0x400001ff;
// Setting it starts the timer, so everything else comes first.
constexpr uint32_t kTscDeadlineMsr = 0x6e0;
// struct kvm_msr_list as the kernel counts it: its head alone.
constexpr unsigned long kGetMsrIndexList = _IOWR(KVMIO, 0x02, uint32_t);

struct MsrList {
  uint32_t count;
  uint32_t indices[kMaxMsrs];
};

// One ioctl pair and the structure that it moves.
template <class T>
Result<void> save_part(const Vcpu& vcpu, unsigned long request, const char* name,
                       StateWriter& out) {
  T value{};
  const auto got = kvm_ioctl(vcpu.fd(), request, &value, name);
  const bool absent =
      !got && (got.error().error_number() == EINVAL || got.error().error_number() == ENOTTY);
  if (!got && !absent) return without_value(got);
  out.boolean(got.has_value());
  if (got) out.object(value);
  return {};
}

template <class T>
struct Part {
  bool present = false;
  T value{};
};

template <class T>
Part<T> read_part(StateReader& in) {
  Part<T> part;
  part.present = in.boolean();
  if (part.present) part.value = in.object<T>();
  return part;
}

template <class T>
Result<void> load_part(Vcpu& vcpu, const Part<T>& part, unsigned long request, const char* name) {
  if (!part.present) return {};
  return without_value(kvm_ioctl(vcpu.fd(), request, &part.value, name));
}

#define SAVE_PART(type, request) TRY(save_part<type>(vcpu, request, #request, out))
#define LOAD_PART(part, request) TRY(load_part(vcpu, part, request, #request))

using Msrs = std::vector<std::pair<uint32_t, uint64_t>>;

Result<void> save_msrs(const Vcpu& vcpu, std::span<const uint32_t> indices, StateWriter& out) {
  Msrs found;
  for (const uint32_t index : indices)
    if (const auto value = TRY(get_msr(vcpu, index))) found.emplace_back(index, *value);
  out.u32(static_cast<uint32_t>(found.size()));
  for (const auto& [index, value] : found) {
    out.u32(index);
    out.u64(value);
  }
  return {};
}

Msrs read_msrs(StateReader& in) {
  Msrs msrs;
  const uint32_t count = in.count(kMaxMsrs);
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t index = in.u32();
    msrs.emplace_back(index, in.u64());
  }
  return msrs;
}

// Some can be read and not written; that matters only if the value is another one.
Result<void> load_msr(Vcpu& vcpu, uint32_t index, uint64_t value) {
  if (TRY(set_msr(vcpu, index, value))) return {};
  if (TRY(get_msr(vcpu, index)) == value) return {};
  return fail(ErrorKind::kHost, "this host's KVM refuses MSR {:#x} = {:#x}", index, value);
}

Result<void> load_msrs(Vcpu& vcpu, const Msrs& msrs) {
  for (const auto& [index, value] : msrs)
    if (index != kTscDeadlineMsr) TRY(load_msr(vcpu, index, value));
  for (const auto& [index, value] : msrs)
    if (index == kTscDeadlineMsr) TRY(load_msr(vcpu, index, value));
  return {};
}

std::string section_name(const Vcpu& vcpu) { return fmt::format("vcpu{}", vcpu.index()); }

}  // namespace

Result<std::vector<uint32_t>> msrs_to_save(const Kvm& kvm) {
  MsrList list{};
  list.count = kMaxMsrs;
  TRY(KVM_CALL(kvm.fd(), kGetMsrIndexList, &list));
  std::vector<uint32_t> indices(list.indices,
                                list.indices + std::min<size_t>(list.count, kMaxMsrs));
  std::erase_if(indices, [](uint32_t i) { return i >= kFirstHyperVMsr && i <= kLastHyperVMsr; });
  return indices;
}

// The multiprocessing state comes first: asking for it delivers what INIT and SIPI have left
// pending.
Result<void> save_vcpu(const Vcpu& vcpu, std::span<const uint32_t> msrs, StateWriter& out) {
  const auto section = out.section(section_name(vcpu), kVcpuStateVersion);
  SAVE_PART(kvm_mp_state, KVM_GET_MP_STATE);
  SAVE_PART(kvm_regs, KVM_GET_REGS);
  SAVE_PART(kvm_sregs, KVM_GET_SREGS);
  SAVE_PART(kvm_fpu, KVM_GET_FPU);
  TRY(save_part<XsaveArea>(vcpu, kGetXsave, "KVM_GET_XSAVE", out));
  SAVE_PART(kvm_xcrs, KVM_GET_XCRS);
  SAVE_PART(kvm_debugregs, KVM_GET_DEBUGREGS);
  SAVE_PART(kvm_lapic_state, KVM_GET_LAPIC);
  TRY(save_msrs(vcpu, msrs, out));
  SAVE_PART(kvm_vcpu_events, KVM_GET_VCPU_EVENTS);
  return {};
}

Result<void> load_vcpu(Vcpu& vcpu, StateReader& in) {
  StateReader section = TRY(in.section(section_name(vcpu), kVcpuStateVersion));
  const auto mp_state = read_part<kvm_mp_state>(section);
  const auto regs = read_part<kvm_regs>(section);
  const auto sregs = read_part<kvm_sregs>(section);
  const auto fpu = read_part<kvm_fpu>(section);
  const auto xsave = read_part<XsaveArea>(section);
  const auto xcrs = read_part<kvm_xcrs>(section);
  const auto debugregs = read_part<kvm_debugregs>(section);
  const auto lapic = read_part<kvm_lapic_state>(section);
  const Msrs msrs = read_msrs(section);
  const auto events = read_part<kvm_vcpu_events>(section);
  TRY(section.end());

  // XCR0 before what it enables; the local APIC after its base address (in sregs) and before the
  // MSRs of its timer; events last, as the calls before may queue some of their own.
  LOAD_PART(mp_state, KVM_SET_MP_STATE);
  LOAD_PART(regs, KVM_SET_REGS);
  LOAD_PART(sregs, KVM_SET_SREGS);
  LOAD_PART(xcrs, KVM_SET_XCRS);
  if (xsave.present)
    TRY(load_part(vcpu, xsave, kSetXsave, "KVM_SET_XSAVE"));
  else
    LOAD_PART(fpu, KVM_SET_FPU);
  LOAD_PART(debugregs, KVM_SET_DEBUGREGS);
  LOAD_PART(lapic, KVM_SET_LAPIC);
  TRY(load_msrs(vcpu, msrs));
  LOAD_PART(events, KVM_SET_VCPU_EVENTS);
  return {};
}

}  // namespace hull::vmm::x86
