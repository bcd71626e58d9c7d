#include "firmware/guest/interrupts.h"

#include "firmware/guest/boot_info.h"
#include "firmware/guest/cpu.h"

extern "C" volatile uint64_t interrupt_counts[HULL_GUEST_VECTOR_COUNT];

namespace hull::guest {
namespace {

constexpr uint64_t kLocalApic = 0xfee00000;
constexpr uint64_t kLocalApicId = kLocalApic + 0x20;
constexpr uint64_t kSpurious = kLocalApic + 0xf0;
constexpr uint32_t kApicEnable = 1u << 8;
constexpr uint64_t kIcrLow = kLocalApic + 0x300;
constexpr uint64_t kIcrHigh = kLocalApic + 0x310;
constexpr uint32_t kDeliveryPending = 1u << 12;

constexpr uint32_t kPinsPerIoApic = 24;
constexpr uint32_t kMasked = 1u << 16;

uint64_t io_apic(uint32_t gsi) { return 0xfec00000 + uint64_t{gsi / kPinsPerIoApic} * 0x10000; }

void write_redirection(uint32_t gsi, uint32_t low, uint32_t high) {
  const uint32_t index = 0x10 + 2 * (gsi % kPinsPerIoApic);
  mmio_write32(io_apic(gsi), index + 1);
  mmio_write32(io_apic(gsi) + 0x10, high);
  mmio_write32(io_apic(gsi), index);
  mmio_write32(io_apic(gsi) + 0x10, low);
}

uint8_t vector_of(uint32_t gsi) {
  constexpr uint32_t kCount = HULL_GUEST_SPURIOUS_VECTOR - HULL_GUEST_FIRST_IRQ_VECTOR;
  return static_cast<uint8_t>(HULL_GUEST_FIRST_IRQ_VECTOR + gsi % kCount);
}

}  // namespace

WaitMode wait_mode() {
  const std::string_view mode = boot_info().option("hull.wait");
  if (mode == "spin") return WaitMode::kSpin;
  return mode == "halt" ? WaitMode::kHalt : WaitMode::kPoll;
}

void enable_local_apic() { mmio_write32(kSpurious, kApicEnable | HULL_GUEST_SPURIOUS_VECTOR); }

uint8_t enable_interrupt(uint32_t gsi) {
  enable_local_apic();
  write_redirection(gsi, vector_of(gsi), mmio_read32(kLocalApicId) & 0xff000000);
  return vector_of(gsi);
}

void disable_interrupt(uint32_t gsi) { write_redirection(gsi, kMasked, 0); }

const volatile uint64_t& interrupt_count(uint8_t vector) { return interrupt_counts[vector]; }

void send_ipi(uint32_t apic_id, uint32_t low) {
  mmio_write32(kIcrHigh, apic_id << 24);
  mmio_write32(kIcrLow, low);
  while ((mmio_read32(kIcrLow) & kDeliveryPending) != 0) pause();
}

}  // namespace hull::guest
