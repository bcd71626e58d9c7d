// Where global system interrupts lead after KVM_CREATE_IRQCHIP: 0 to 15 to the PICs and to the I/O
// APIC, 16 to 23 to the I/O APIC alone. For whoever replaces the table (vmm/gsi_routes.h).
#pragma once

#include <linux/kvm.h>

#include <vector>

namespace hull::vmm::x86 {

std::vector<kvm_irq_routing_entry> default_routes();

}  // namespace hull::vmm::x86
