#include "vmm/vcpu_thread.h"

#include <cstring>

#include "base/log.h"
#include "vmm/exit_report.h"

namespace hull::vmm {

VcpuThread::VcpuThread(Vcpu vcpu, devices::Bus& port_bus, devices::Bus& mmio_bus,
                       VcpuOrders& orders, Outcome& outcome)
    : vcpu_(std::move(vcpu)),
      ports_(port_bus),
      mmio_(mmio_bus),
      orders_(orders),
      outcome_(outcome) {}

VcpuThread::~VcpuThread() {
  kick();
  thread_.join();
}

Result<void> VcpuThread::start() {
  thread_ = TRY(
      start_thread(ThreadKind::kVcpu, fmt::format("vcpu{}", vcpu_.index()), [this] { obey(); }));
  return {};
}

void VcpuThread::kick() const {
  if (thread_.joinable()) thread_.kick();
}

void VcpuThread::obey() {
  uint64_t order = 0;
  if (const auto prepared = vcpu_.let_kicks_interrupt_the_guest(); !prepared)
    fail(prepared.error());
  while (orders_.next(order, outcome_.ended()) == VcpuOrder::kRun) {
    run_guest(order);
    finish_access();
  }
}

void VcpuThread::run_guest(uint64_t order) {
  while (!orders_.changed(order) && !outcome_.ended()) {
    const Result<bool> entered = vcpu_.enter();
    if (!entered) return fail(entered.error());
    if (*entered)
      handle_exit();
    else
      Vcpu::forget_kicks();
  }
}

// The instruction of an access ends with the next KVM_RUN; until then the registers are those
// before it. A string instruction or a wide access may bring more of them.
void VcpuThread::finish_access() {
  vcpu_.set_immediate_exit(true);
  Result<bool> entered = vcpu_.enter();
  for (; entered && *entered && !outcome_.ended(); entered = vcpu_.enter()) handle_exit();
  if (!entered) fail(entered.error());
  vcpu_.set_immediate_exit(false);
}

void VcpuThread::fail(const Error& error) {
  outcome_.record({.kind = EndKind::kHostError,
                   .detail = fmt::format("vcpu {}: {}", vcpu_.index(), error.message())});
}

void VcpuThread::handle_exit() {
  const kvm_run& run = vcpu_.run_state();
  switch (run.exit_reason) {
    case KVM_EXIT_IO: return handle_port_access();
    case KVM_EXIT_MMIO: return handle_mmio();
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN: return;
    case KVM_EXIT_SYSTEM_EVENT:
      if (run.system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN) return outcome_.power_off();
      if (run.system_event.type == KVM_SYSTEM_EVENT_RESET) return outcome_.reset();
      return outcome_.guest_panicked();
    default: return crash(describe_fatal_exit(vcpu_));
  }
}

void VcpuThread::handle_port_access() {
  kvm_run& run = vcpu_.run_state();
  // `rep ins` and `rep outs` bring up to a page of accesses at once.
  uint8_t* data = reinterpret_cast<uint8_t*>(&run) + run.io.data_offset;
  for (uint32_t i = 0; i < run.io.count; ++i, data += run.io.size) {
    const std::span<uint8_t> bytes(data, run.io.size);
    if (run.io.direction == KVM_EXIT_IO_OUT) {
      ports_.write(run.io.port, bytes);
    } else if (!ports_.read(run.io.port, bytes)) {
      std::memset(bytes.data(), 0xff, bytes.size());
    }
  }
}

void VcpuThread::handle_mmio() {
  kvm_run& run = vcpu_.run_state();
  const std::span<uint8_t> bytes(run.mmio.data, std::min<size_t>(run.mmio.len, 8));
  const bool claimed = run.mmio.is_write != 0 ? mmio_.write(run.mmio.phys_addr, bytes)
                                              : mmio_.read(run.mmio.phys_addr, bytes);
  if (claimed) return;
  // Probing kernels do this; a guest that does nothing else must not fill the log.
  LOG_LIMITED(LogLevel::kDebug, "vcpu", "vcpu {}: {} of {} bytes at {:#x}: nothing is there",
              vcpu_.index(), run.mmio.is_write != 0 ? "write" : "read", bytes.size(),
              run.mmio.phys_addr);
  if (run.mmio.is_write == 0) std::memset(bytes.data(), 0xff, bytes.size());
}

void VcpuThread::crash(std::string detail) {
  outcome_.record({.kind = EndKind::kGuestCrash, .detail = std::move(detail)});
}

}  // namespace hull::vmm
