#include "vmm/x86/board.h"

#include <algorithm>
#include <numeric>

#include "base/log.h"
#include "devices/fw_cfg.h"
#include "firmware/x86/bios.h"
#include "firmware/x86/boot.h"
#include "vmm/kvm_ioctl.h"
#include "vmm/x86/layout.h"
#include "vmm/x86/registers.h"

namespace hull::vmm::x86 {

namespace {

// The APIC ids of more processors do not fit the 8 bits that the I/O APIC and messages have for
// one. Guests that know no other way (interrupt remapping, which hull has not) leave the rest off.
constexpr unsigned kMaxPlainVcpus = 255;

Result<void> enable_long_apic_ids(const Vm& vm) {
  kvm_enable_cap enable{};
  enable.cap = KVM_CAP_X2APIC_API;
  enable.args[0] = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK;
  return KVM_CALL(vm.fd(), KVM_ENABLE_CAP, &enable);
}

// The performance counters are a large part of what KVM offers a guest to attack.
void disable_pmu(const Kvm& kvm, const Vm& vm) {
  if ((kvm.capability(KVM_CAP_PMU_CAPABILITY) & KVM_PMU_CAP_DISABLE) == 0) return;
  kvm_enable_cap disable{};
  disable.cap = KVM_CAP_PMU_CAPABILITY;
  disable.args[0] = KVM_PMU_CAP_DISABLE;
  if (const auto done = KVM_CALL(vm.fd(), KVM_ENABLE_CAP, &disable); !done)
    LOG_DEBUG("performance counters stay: {}", done.error().message());
}

}  // namespace

Result<firmware::ImageSource> Board::open_installed_bios() {
  return firmware::open_installed_bios();
}

Result<std::vector<MemoryRegion>> Board::memory_regions(uint64_t bytes,
                                                        const firmware::GuestSource& source) {
  std::vector<MemoryRegion> regions = ram_regions(bytes);
  const auto* bios = std::get_if<firmware::BiosSource>(&source);
  if (bios == nullptr) return regions;
  // It ends where the RAM behind the gap begins.
  const auto place = std::ranges::find(regions, GuestAddress{kMmioGapEnd}, &MemoryRegion::start);
  regions.insert(place, TRY(firmware::bios_region(bios->image)));
  return regions;
}

Result<void> Board::before_vcpus() {
  const Vm& vm = options_.vm;
  uint64_t identity_map = kIdentityMapAddress;
  TRY(KVM_CALL(vm.fd(), KVM_SET_IDENTITY_MAP_ADDR, &identity_map));
  TRY(KVM_CALL(vm.fd(), KVM_SET_TSS_ADDR, kTssAddress));
  TRY(KVM_CALL(vm.fd(), KVM_CREATE_IRQCHIP, 0));
  kvm_pit_config pit{};
  pit.flags = KVM_PIT_SPEAKER_DUMMY;  // port 0x61, which kernels poll while they calibrate
  TRY(KVM_CALL(vm.fd(), KVM_CREATE_PIT2, &pit));
  if (!options_.domain.pmu) disable_pmu(options_.kvm, vm);
  if (options_.domain.vcpus > kMaxPlainVcpus) {
    LOG_WARN("{} vCPUs: guests use at most {} of them, as hull has no interrupt remapping",
             options_.domain.vcpus, kMaxPlainVcpus);
    TRY(enable_long_apic_ids(vm));
  }
  platform_.timer_gsi = 0;  // KVM routes ISA interrupt 0 to pin 0
  platform_.reserved = {{GuestAddress{kIdentityMapAddress}, kKvmPagesBytes}};
  return {};
}

Result<Board::VirtioSlot> Board::add_virtio_slot(std::string_view name, uint32_t size_bytes) {
  const size_t slot = platform_.virtio_mmio.size();
  if (slot >= kMaxVirtioDevices)
    return fail(ErrorKind::kInvalidConfig,
                "{}: more than {} disks, network interfaces and other virtio devices", name,
                kMaxVirtioDevices);
  const uint64_t base = kVirtioMmioBase + slot * kVirtioMmioStride;
  platform_.virtio_mmio.push_back({.base = GuestAddress{base},
                                   .size_bytes = size_bytes,
                                   .gsi = kVirtioGsis[slot],
                                   .name = std::string(name)});
  return VirtioSlot{base, TRY(add_line(kVirtioGsis[slot]))};
}

Result<std::vector<uint8_t>> Board::load_boot(const GuestMemory& memory,
                                              const firmware::GuestSource& source) {
  platform_.apic_ids.resize(options_.domain.vcpus);
  std::iota(platform_.apic_ids.begin(), platform_.apic_ids.end(), 0u);
  platform_.online_vcpus = options_.domain.vcpus_online;
  platform_.local_apic = GuestAddress{kLocalApicBase};
  platform_.io_apic = GuestAddress{kIoApicBase};
  return std::visit([&](const auto& kind) { return load(memory, kind); }, source);
}

Result<std::vector<uint8_t>> Board::load(const GuestMemory& memory,
                                         const firmware::BootSource& kernel) {
  firmware::LoadedBoot boot = TRY(firmware::load_boot(memory, platform_, kernel));
  LOG_DEBUG("kernel: {}", boot.kind);
  entry_ = boot.entry;
  return std::move(boot.device_tree);
}

Result<std::vector<uint8_t>> Board::load(const GuestMemory& memory,
                                         const firmware::BiosSource& bios) {
  using devices::FwCfg;
  TRY(firmware::load_bios(memory, bios.image));
  auto told = firmware::bios_configuration(memory, platform_, bios);
  auto device = std::make_unique<FwCfg>(memory, std::move(told.items), std::move(told.files));
  stateful_.push_back(device.get());
  TRY(add_device(std::move(device), FwCfg::kBasePort, FwCfg::kPortCount));
  return {};
}

unsigned Board::vcpu_count() const {
  return entry_ ? options_.domain.vcpus : options_.domain.vcpus_online;
}

Result<void> Board::prepare_cpuid() {
  const CpuModel model{
      .vcpus = options_.domain.vcpus,
      .tsc_deadline_timer = options_.kvm.capability(KVM_CAP_TSC_DEADLINE_TIMER) != 0,
      .pmu = options_.domain.pmu,
      .disabled = options_.domain.disabled_cpu_features,
      .required = options_.domain.required_cpu_features};
  const CpuidTable supported = TRY(supported_cpuid(options_.kvm));
  cpuid_ = TRY(cpuid_for_machine(supported, model));
  return {};
}

Result<void> Board::init_vcpu(Vcpu& vcpu) {
  if (!cpuid_) TRY(prepare_cpuid());
  TRY(set_cpuid(vcpu, cpuid_for_vcpu(*cpuid_, vcpu.index())));
  TRY(set_boot_msrs(vcpu));
  TRY(hide_msr_features(vcpu, options_.domain.disabled_cpu_features));
  if (vcpu.index() != 0 || !entry_) return {};
  TRY(set_local_interrupts(vcpu));
  return set_boot_registers(vcpu, *entry_);
}

}  // namespace hull::vmm::x86
