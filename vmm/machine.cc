#include "vmm/machine.h"

namespace hull::vmm {

Machine::~Machine() { stop(); }

Result<void> Machine::start() {
  for (const auto& vcpu : vcpus_) TRY(vcpu->start());
  return {};
}

void Machine::stop() {
  // All are on their way out before the first is waited for.
  for (const auto& vcpu : vcpus_) vcpu->kick();
  for (const auto& vcpu : vcpus_) vcpu->join();
}

}  // namespace hull::vmm
