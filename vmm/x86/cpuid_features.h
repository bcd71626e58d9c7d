// Features in a CPUID table: who must have them, who must not see them.
#pragma once

#include "vmm/x86/cpuid.h"

namespace hull::vmm::x86 {

// What the processor itself answers here.
kvm_cpuid_entry2 host_cpuid(uint32_t function);

// kHost unless the table has each of them, with all that are missing in one line.
Result<void> check_required(const CpuidTable& table, std::span<const std::string> names);

// Hardware virtualisation and performance counters, unless the model asks for them.
void hide_by_default(CpuidTable& table, const CpuModel& model);

Result<void> hide_features(CpuidTable& table, std::span<const std::string> names);

}  // namespace hull::vmm::x86
