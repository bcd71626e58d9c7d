// What the guest's CPUID instruction answers: what this host's KVM supports, with the topology of
// the virtual machine put in. Nothing is added that KVM did not offer.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "vmm/kvm.h"

namespace hull::vmm::x86 {

// One package of `vcpus` cores with one thread each, APIC id = index. `supported` is what
// KVM_GET_SUPPORTED_CPUID returned; the result is for the processor `index`.
CpuidTable cpuid_for_vcpu(const CpuidTable& supported, unsigned index, unsigned vcpus,
                          bool tsc_deadline_timer);

// Clears the named features (libvirt's names: "avx2", "pcid", …). An unknown name is
// kInvalidConfig.
Result<void> disable_features(CpuidTable& table, std::span<const std::string> names);

}  // namespace hull::vmm::x86
