// Order matters twice. KVM wants the board's interrupt controllers before the vCPUs; and a memory
// slot set after the interrupt controller costs milliseconds on some hosts, so memory comes first.
// Devices are in the tables that firmware writes, so firmware comes after them.
#include "vmm/build_machine.h"

#include "vmm/mmio_slots.h"

namespace hull::vmm {

class MachineBuilder {
 public:
  explicit MachineBuilder(const MachineParts& parts) : parts_(parts) {}

  Result<std::unique_ptr<Machine>> build(std::vector<uint8_t>* device_tree) {
    TRY(create_vm());
    TRY(board().before_vcpus());
    TRY(board().add_devices());
    TRY(add_virtio());
    machine_->memory_.advise_huge_pages();
    std::vector<uint8_t> tree = TRY(board().load_boot(machine_->memory_, parts_.boot));
    if (device_tree != nullptr) *device_tree = std::move(tree);
    TRY(add_vcpus());
    return std::move(machine_);
  }

 private:
  arch::Board& board() { return *machine_->board_; }

  Result<void> create_vm() {
    const auto regions = TRY(arch::Board::memory_regions(parts_.domain.memory_bytes, parts_.boot));
    GuestMemory memory =
        TRY(GuestMemory::create(regions, {.huge_pages = parts_.domain.memory_hugepages,
                                          .locked = parts_.domain.memory_locked,
                                          .dumpable = parts_.domain.dump_guest_core}));
    Vm vm = TRY(parts_.kvm.create_vm());
    TRY(vm.set_memory(memory));
    machine_.reset(new Machine(std::move(vm), std::move(memory)));
    machine_->board_ = std::make_unique<arch::Board>(
        arch::Board::Options{.domain = parts_.domain,
                             .kvm = parts_.kvm,
                             .vm = machine_->vm_,
                             .ports = machine_->ports_,
                             .events = parts_.outcome,
                             .loop = parts_.loop,
                             .debug_exit_port = parts_.debug_exit_port});
    machine_->slots_ =
        std::make_unique<MmioSlots>(board(), machine_->vm_, machine_->mmio_, machine_->memory_);
    return {};
  }

  Result<void> add_virtio() {
    for (const DeviceMaker& make : parts_.virtio)
      machine_->virtio_.push_back(TRY(machine_->slots_->attach(make())));
    return {};
  }

  Result<void> add_vcpus() {
    machine_->orders_ = TRY(VcpuOrders::create());
    for (unsigned i = 0; i < board().vcpu_count(); ++i) {
      Vcpu vcpu = TRY(machine_->vm_.create_vcpu(i));
      TRY(board().init_vcpu(vcpu));
      machine_->vcpus_.push_back(std::make_unique<VcpuThread>(
          std::move(vcpu), machine_->ports_, machine_->mmio_, *machine_->orders_, parts_.outcome));
    }
    return {};
  }

  const MachineParts& parts_;
  std::unique_ptr<Machine> machine_;
};

Result<std::unique_ptr<Machine>> build_machine(const MachineParts& parts,
                                               std::vector<uint8_t>* device_tree) {
  return MachineBuilder(parts).build(device_tree);
}

}  // namespace hull::vmm
