// Local APIC and I/O APIC, programmed from CPL 3. Handlers only count (entry.S).
#pragma once

#include <cstdint>

namespace hull::guest {

enum class WaitMode : uint8_t { kPoll, kSpin, kHalt };

// hull.wait=poll (default: interrupts suppressed, look at the used ring), spin (wait for the
// interrupt counter), halt (hlt until the interrupt).
WaitMode wait_mode();

// Routes a global system interrupt, edge-triggered, to this CPU; the answer is its vector.
uint8_t enable_interrupt(uint32_t gsi);
void disable_interrupt(uint32_t gsi);
const volatile uint64_t& interrupt_count(uint8_t vector);

void enable_local_apic();
// Interrupt command register: `low` as in Intel SDM volume 3, 11.6.1.
void send_ipi(uint32_t apic_id, uint32_t low);

}  // namespace hull::guest
