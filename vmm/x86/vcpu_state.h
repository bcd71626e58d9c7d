// All that KVM knows of a virtual CPU, out of one and into another that was made in the same way
// (the same CPUID). Neither runs; an access that its last exit asked for has been completed, by
// entering once more with an immediate exit.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/state.h"
#include "vmm/kvm.h"

namespace hull::vmm::x86 {

// The MSRs that hold state on this host: KVM_GET_MSR_INDEX_LIST without what hull's guests do not
// have.
Result<std::vector<uint32_t>> msrs_to_save(const Kvm& kvm);

// The section "vcpuN". Parts that this host's KVM does not have are left out.
Result<void> save_vcpu(const Vcpu& vcpu, std::span<const uint32_t> msrs, StateWriter& out);

// kHost, naming the part, for what this host's KVM does not take. A vCPU that was loaded in part is
// only good for being destroyed.
Result<void> load_vcpu(Vcpu& vcpu, StateReader& in);

}  // namespace hull::vmm::x86
