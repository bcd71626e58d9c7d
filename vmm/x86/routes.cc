#include "vmm/x86/routes.h"

#include "firmware/x86/platform.h"

namespace hull::vmm::x86 {

namespace {

constexpr uint32_t kPicPins = 8;  // of each of the two

kvm_irq_routing_entry route(uint32_t gsi, uint32_t chip, uint32_t pin) {
  kvm_irq_routing_entry entry{};
  entry.gsi = gsi;
  entry.type = KVM_IRQ_ROUTING_IRQCHIP;
  entry.u.irqchip.irqchip = chip;
  entry.u.irqchip.pin = pin;
  return entry;
}

}  // namespace

std::vector<kvm_irq_routing_entry> default_routes() {
  std::vector<kvm_irq_routing_entry> routes;
  for (uint32_t gsi = 0; gsi < firmware::kIoApicPins; ++gsi) {
    if (gsi < kPicPins) routes.push_back(route(gsi, KVM_IRQCHIP_PIC_MASTER, gsi));
    if (gsi >= kPicPins && gsi < 2 * kPicPins)
      routes.push_back(route(gsi, KVM_IRQCHIP_PIC_SLAVE, gsi - kPicPins));
    routes.push_back(route(gsi, KVM_IRQCHIP_IOAPIC, gsi));
  }
  return routes;
}

}  // namespace hull::vmm::x86
