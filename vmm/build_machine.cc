// Order matters twice. KVM wants the TSS address before the vCPUs and the interrupt controller
// before them too; and a memory slot set after the interrupt controller costs milliseconds on some
// hosts, so memory comes first. Devices are in the tables that firmware writes, so firmware comes
// after them.
#include "vmm/build_machine.h"

#include <numeric>

#include "devices/debug_exit.h"
#include "devices/i8042.h"
#include "devices/pvpanic.h"
#include "devices/reset_port.h"
#include "devices/rtc_cmos.h"
#include "virtio/block_device.h"
#include "virtio/net_device.h"
#include "virtio/rng_device.h"
#include "vmm/x86/cpuid.h"
#include "vmm/x86/layout.h"
#include "vmm/x86/registers.h"

namespace hull::vmm {

class MachineBuilder {
 public:
  explicit MachineBuilder(const MachineParts& parts) : parts_(parts) {}

  Result<std::unique_ptr<Machine>> build(std::vector<uint8_t>* device_tree) {
    TRY(create_vm());
    TRY(add_serial());
    TRY(add_power());
    TRY(add_legacy());
    TRY(add_disks());
    TRY(add_networks());
    TRY(add_rng());
    machine_->memory_.advise_huge_pages();
    firmware::LoadedBoot boot = TRY(load_firmware());
    if (device_tree != nullptr) *device_tree = std::move(boot.device_tree);
    TRY(add_vcpus(boot.entry));
    return std::move(machine_);
  }

 private:
  Result<void> create_vm() {
    const auto ranges = x86::ram_ranges(parts_.domain.memory_bytes);
    GuestMemory memory =
        TRY(GuestMemory::create(ranges, {.huge_pages = parts_.domain.memory_hugepages,
                                         .locked = parts_.domain.memory_locked,
                                         .dumpable = parts_.domain.dump_guest_core}));
    Vm vm = TRY(parts_.kvm.create_vm());
    TRY(vm.set_memory(memory));
    TRY(vm.set_identity_map_address(x86::kIdentityMapAddress));
    TRY(vm.set_tss_address(x86::kTssAddress));
    TRY(vm.create_irqchip());
    TRY(vm.create_pit());
    machine_.reset(new Machine(std::move(vm), std::move(memory)));
    platform_.timer_gsi = 0;  // KVM routes ISA interrupt 0 to pin 0
    platform_.reserved = {{GuestAddress{x86::kIdentityMapAddress}, 4 * 4096}};
    return {};
  }

  Result<devices::InterruptLine*> add_line(uint32_t gsi) {
    machine_->lines_.push_back(TRY(IrqfdLine::create(machine_->vm_, gsi)));
    return machine_->lines_.back().get();
  }

  Result<void> add_serial() {
    devices::InterruptLine* line = TRY(add_line(x86::kSerialGsi));
    machine_->serial_ = TRY(devices::Serial16550::create("serial0", *line));
    TRY(add_ports(x86::kSerialPort, devices::Serial16550::kPortCount, *machine_->serial_));
    platform_.serial = {.port = x86::kSerialPort, .gsi = x86::kSerialGsi};
    return {};
  }

  Result<void> add_power() {
    machine_->sci_ = std::make_unique<GsiLevelLine>(machine_->vm_, x86::kSciGsi);
    machine_->power_ = std::make_unique<devices::AcpiPm>(parts_.outcome, *machine_->sci_);
    TRY(add_ports(x86::kAcpiPmPort, devices::AcpiPm::kPortCount, *machine_->power_));
    platform_.power =
        firmware::AcpiPowerBlock{.event_port = x86::kAcpiPmPort + devices::AcpiPm::kEventOffset,
                                 .control_port = x86::kAcpiPmPort + devices::AcpiPm::kControlOffset,
                                 .timer_port = x86::kAcpiPmPort + devices::AcpiPm::kTimerOffset,
                                 .sci_gsi = x86::kSciGsi,
                                 .s5_sleep_type = devices::AcpiPm::kSleepTypeS5};
    return {};
  }

  Result<void> add_ports(uint64_t base, uint64_t count, devices::BusDevice& device) {
    machine_->regions_.push_back(TRY(machine_->ports_.map(base, count, device)));
    return {};
  }

  Result<void> add_legacy(std::unique_ptr<devices::BusDevice> device, uint64_t base,
                          uint64_t count) {
    machine_->legacy_.push_back(std::move(device));
    return add_ports(base, count, *machine_->legacy_.back());
  }

  Result<void> add_legacy() {
    using namespace devices;
    const uint64_t memory = parts_.domain.memory_bytes;
    const uint64_t low = std::min(memory, x86::kMmioGapStart);
    InterruptLine* keyboard = TRY(add_line(x86::kKeyboardGsi));
    TRY(add_legacy(std::make_unique<I8042>(parts_.outcome, *keyboard), I8042::kBasePort,
                   I8042::kPortCount));
    TRY(add_legacy(std::make_unique<RtcCmos>(RtcOptions{.memory_below_4g_bytes = low,
                                                        .memory_above_4g_bytes = memory - low}),
                   RtcCmos::kBasePort, RtcCmos::kPortCount));
    TRY(add_legacy(std::make_unique<ResetPort>(parts_.outcome), ResetPort::kBasePort,
                   ResetPort::kPortCount));
    platform_.reset = {.port = ResetPort::kBasePort, .value = ResetPort::kResetValue};
    platform_.keyboard_controller = true;
    if (parts_.domain.panic_device) {
      TRY(add_legacy(std::make_unique<Pvpanic>(parts_.outcome), Pvpanic::kBasePort,
                     Pvpanic::kPortCount));
      platform_.panic_port = Pvpanic::kBasePort;
    }
    if (parts_.debug_exit_port)
      TRY(add_legacy(std::make_unique<DebugExit>(parts_.outcome), DebugExit::kBasePort,
                     DebugExit::kPortCount));
    return {};
  }

  // A virtio device on the MMIO bus: register page, interrupt, and an ioeventfd for each queue.
  Result<void> add_virtio(std::unique_ptr<virtio::VirtioDevice> device) {
    const size_t slot = machine_->virtio_.size();
    if (slot >= x86::kMaxVirtioDevices)
      return fail(ErrorKind::kInvalidConfig,
                  "{}: more than {} disks, network interfaces and other virtio devices",
                  device->name(), x86::kMaxVirtioDevices);
    const uint64_t base = x86::kVirtioMmioBase + slot * x86::kVirtioMmioStride;
    const uint32_t gsi = x86::kVirtioGsis[slot];
    platform_.virtio_mmio.push_back({.base = GuestAddress{base},
                                     .size_bytes = virtio::MmioTransport::kRegisterBytes,
                                     .gsi = gsi,
                                     .name = std::string(device->name())});
    devices::InterruptLine* line = TRY(add_line(gsi));
    auto transport =
        TRY(virtio::MmioTransport::create(std::move(device), machine_->memory_, *line));
    for (uint32_t queue = 0; queue < transport->queue_count(); ++queue)
      TRY(machine_->vm_.connect_ioeventfd(transport->kick_fd(queue),
                                          base + virtio::MmioTransport::kQueueNotifyOffset, queue));
    machine_->regions_.push_back(
        TRY(machine_->mmio_.map(base, virtio::MmioTransport::kRegisterBytes, *transport)));
    machine_->virtio_.push_back(std::move(transport));
    return {};
  }

  Result<void> add_disks() {
    for (size_t i = 0; i < parts_.disks.size(); ++i) {
      const config::DiskConfig& disk = parts_.domain.disks[i];
      const virtio::BlockOptions options{.name = disk.target,
                                         .serial = disk.serial,
                                         .read_only = disk.read_only,
                                         .discard = disk.discard == config::DiscardMode::kUnmap,
                                         .queue_size = static_cast<uint16_t>(disk.queue_size),
                                         .logical_block_size = disk.logical_block_size,
                                         .physical_block_size = disk.physical_block_size};
      TRY(add_virtio(
          std::make_unique<virtio::BlockDevice>(options, *parts_.disks[i], parts_.engine)));
    }
    return {};
  }

  Result<void> add_networks() {
    for (size_t i = 0; i < parts_.networks.size(); ++i) {
      const config::NetworkConfig& network = parts_.domain.networks[i];
      TRY(add_virtio(
          std::make_unique<virtio::NetDevice>(virtio::NetOptions{.name = fmt::format("net{}", i),
                                                                 .mac = network.mac,
                                                                 .mtu = network.mtu,
                                                                 .link_up = network.link_up},
                                              parts_.networks[i].get(), *parts_.workers[i])));
    }
    return {};
  }

  Result<void> add_rng() {
    if (!parts_.domain.rng) return {};
    return add_virtio(std::make_unique<virtio::RngDevice>(
        virtio::RngOptions{.name = "rng0",
                           .rate_bytes = parts_.domain.rng->rate_bytes,
                           .rate_period_ms = parts_.domain.rng->rate_period_ms},
        *parts_.workers.back()));
  }

  Result<firmware::LoadedBoot> load_firmware() {
    platform_.apic_ids.resize(parts_.domain.vcpus);
    std::iota(platform_.apic_ids.begin(), platform_.apic_ids.end(), 0u);
    platform_.online_vcpus = parts_.domain.vcpus_online;
    platform_.local_apic = GuestAddress{x86::kLocalApicBase};
    platform_.io_apic = GuestAddress{x86::kIoApicBase};
    return firmware::load_boot(machine_->memory_, platform_, parts_.boot);
  }

  Result<void> add_vcpus(const firmware::EntryState& entry) {
    CpuidTable supported = TRY(parts_.kvm.supported_cpuid());
    TRY(x86::disable_features(supported, parts_.domain.disabled_cpu_features));
    machine_->orders_ = TRY(VcpuOrders::create());
    const bool tsc_deadline = parts_.kvm.capability(KVM_CAP_TSC_DEADLINE_TIMER) != 0;
    for (unsigned i = 0; i < parts_.domain.vcpus; ++i) {
      Vcpu vcpu = TRY(machine_->vm_.create_vcpu(i));
      TRY(vcpu.set_cpuid(x86::cpuid_for_vcpu(supported, i, parts_.domain.vcpus, tsc_deadline)));
      TRY(x86::set_boot_msrs(vcpu));
      if (i == 0) {
        TRY(x86::set_local_interrupts(vcpu));
        TRY(x86::set_boot_registers(vcpu, entry));
      }
      machine_->vcpus_.push_back(std::make_unique<VcpuThread>(
          std::move(vcpu), machine_->ports_, machine_->mmio_, *machine_->orders_, parts_.outcome));
    }
    return {};
  }

  const MachineParts& parts_;
  firmware::Platform platform_;
  std::unique_ptr<Machine> machine_;
};

Result<std::unique_ptr<Machine>> build_machine(const MachineParts& parts,
                                               std::vector<uint8_t>* device_tree) {
  return MachineBuilder(parts).build(device_tree);
}

}  // namespace hull::vmm
