#include <linux/kvm.h>

#include <algorithm>

#include "vmm/kvm_ioctl.h"
#include "vmm/x86/board.h"
#include "vmm/x86/vcpu_state.h"

namespace hull::vmm::x86 {

namespace {

constexpr uint32_t kBoardStateVersion = 1;
constexpr uint32_t kChips[] = {KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC};

Result<void> save_controllers(const Vm& vm, StateWriter& out) {
  const auto section = out.section("kvm-irqchip", kBoardStateVersion);
  for (const uint32_t chip_id : kChips) {
    kvm_irqchip chip{};
    chip.chip_id = chip_id;
    TRY(KVM_CALL(vm.fd(), KVM_GET_IRQCHIP, &chip));
    out.object(chip);
  }
  kvm_pit_state2 pit{};
  TRY(KVM_CALL(vm.fd(), KVM_GET_PIT2, &pit));
  out.object(pit);
  kvm_clock_data clock{};
  TRY(KVM_CALL(vm.fd(), KVM_GET_CLOCK, &clock));
  out.u64(clock.clock);
  return {};
}

Result<void> load_controllers(Vm& vm, StateReader& in) {
  StateReader section = TRY(in.section("kvm-irqchip", kBoardStateVersion));
  kvm_irqchip chips[std::size(kChips)];
  for (size_t i = 0; i < std::size(kChips); ++i) {
    chips[i] = section.object<kvm_irqchip>();
    if (chips[i].chip_id != kChips[i]) section.reject("another interrupt controller");
  }
  const auto pit = section.object<kvm_pit_state2>();
  kvm_clock_data clock{};
  clock.clock = section.u64();
  TRY(section.end());
  for (kvm_irqchip& chip : chips) TRY(KVM_CALL(vm.fd(), KVM_SET_IRQCHIP, &chip));
  TRY(KVM_CALL(vm.fd(), KVM_SET_PIT2, &pit));
  return KVM_CALL(vm.fd(), KVM_SET_CLOCK, &clock);
}

bool is_nested(const std::string& feature) { return feature == "vmx" || feature == "svm"; }

}  // namespace

Result<void> Board::save(StateWriter& out) const {
  // KVM keeps the state of a guest's guest apart, and hull does not move it.
  if (std::ranges::any_of(options_.domain.required_cpu_features, is_nested))
    return fail(ErrorKind::kUnsupported,
                "a guest with nested virtualisation (vmx, svm) cannot be saved");
  TRY(save_controllers(options_.vm, out));
  for (const Stateful* device : stateful_) device->save(out);
  return {};
}

// Devices after the interrupt controllers: they raise their level lines again.
Result<void> Board::load(StateReader& in) {
  TRY(load_controllers(options_.vm, in));
  for (Stateful* device : stateful_) TRY(device->load(in));
  return {};
}

Result<void> Board::save_vcpu(const Vcpu& vcpu, StateWriter& out) const {
  const std::vector<uint32_t> msrs = TRY(msrs_to_save(options_.kvm));
  return x86::save_vcpu(vcpu, msrs, out);
}

// KVM's api.rst, 4.70. An error says that the guest has no such clock.
void Board::say_it_stood_still(const Vcpu& vcpu) {
  [[maybe_unused]] const auto said = KVM_CALL(vcpu.fd(), KVM_KVMCLOCK_CTRL, 0);
}

Result<void> Board::load_vcpu(Vcpu& vcpu, StateReader& in) const {
  return x86::load_vcpu(vcpu, in);
}

}  // namespace hull::vmm::x86
