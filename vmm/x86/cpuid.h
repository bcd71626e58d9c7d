// What the guest's CPUID instruction answers. In this order, so that the last word is the user's:
// what this host's KVM supports, the topology of the virtual machine, what KVM emulates and does
// not say (the hypervisor bit, the TSC deadline timer), the host's brand string, what hull hides
// unless it is asked for (nesting, performance counters), what the configuration hides.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/result.h"
#include "vmm/x86/kvm_cpu.h"

namespace hull::vmm::x86 {

// One package of `vcpus` cores with one thread each, APIC id = index.
struct CpuModel {
  unsigned vcpus = 1;
  bool tsc_deadline_timer = false;          // KVM_CAP_TSC_DEADLINE_TIMER
  bool pmu = false;                         // show the performance counters
  std::span<const std::string> disabled{};  // names of base/x86_cpu_features.h
  std::span<const std::string> required{};  // the same; also brings vmx or svm into view
};

// The answers that all processors share. `supported` is what KVM_GET_SUPPORTED_CPUID returned.
// kInvalidConfig for a name that does not exist, kHost for a required feature that this host does
// not have and for a host that leaves no room in the table.
Result<CpuidTable> cpuid_for_machine(const CpuidTable& supported, const CpuModel& model);

// The same with what differs between processors.
CpuidTable cpuid_for_vcpu(const CpuidTable& machine, unsigned index);

// Features that stand in an MSR: clears what `disabled` names of them.
Result<void> hide_msr_features(Vcpu& vcpu, std::span<const std::string> disabled);

}  // namespace hull::vmm::x86
