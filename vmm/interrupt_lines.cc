#include "vmm/interrupt_lines.h"

#include "base/log.h"

namespace hull::vmm {

Result<std::unique_ptr<IrqfdLine>> IrqfdLine::create(Vm& vm, uint32_t gsi) {
  EventFd event = TRY(EventFd::create());
  TRY(vm.connect_irqfd(event.fd(), gsi));
  return std::unique_ptr<IrqfdLine>(new IrqfdLine(std::move(event)));
}

void GsiLevelLine::set(bool asserted) {
  // The GSI exists and the VM lives: a failure would be our bug.
  CHECK(vm_.set_irq_level(gsi_, asserted).has_value());
}

void VmMsiSink::signal(const devices::MsiMessage& message) {
  if (!vm_.signal_msi(message.address, message.data))
    LOG_LIMITED(LogLevel::kDebug, "msi", "message interrupt {:#x} = {:#x}: no processor takes it",
                message.address, message.data);
}

}  // namespace hull::vmm
