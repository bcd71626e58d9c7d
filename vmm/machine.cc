#include "vmm/machine.h"

namespace hull::vmm {

Machine::~Machine() { order(VcpuOrder::kEnd); }

Result<void> Machine::start() {
  orders_->set_threads(static_cast<unsigned>(vcpus_.size()));
  for (const auto& vcpu : vcpus_) TRY(vcpu->start());
  order(VcpuOrder::kRun);
  return {};
}

void Machine::order(VcpuOrder order) {
  orders_->give(order);
  for (const auto& vcpu : vcpus_) vcpu->kick();
}

}  // namespace hull::vmm
