// The boot processor's state at its first instruction. Application processors stay as KVM makes
// them: waiting for INIT and SIPI.
#pragma once

#include "base/result.h"
#include "firmware/x86/entry_state.h"
#include "vmm/kvm.h"

namespace hull::vmm::x86 {

Result<void> set_boot_registers(Vcpu& vcpu, const firmware::EntryState& entry);

// MSRs that firmware would have set; one that this host's KVM refuses is named at debug level and
// left alone. For every processor.
Result<void> set_boot_msrs(Vcpu& vcpu);

// Virtual wire mode (Intel MP 1.4, 3.6.2.2): the PIC reaches the boot processor through LINT0, NMIs
// arrive at LINT1.
Result<void> set_local_interrupts(Vcpu& vcpu);

}  // namespace hull::vmm::x86
