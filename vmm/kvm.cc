#include "vmm/kvm.h"

#include <signal.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>

#include "base/thread.h"

namespace hull::vmm {

namespace {

// The one ioctl wrapper: retries EINTR, names the call in the error.
template <class Argument>
Result<int> kvm_ioctl(int fd, unsigned long request, Argument argument, const char* name) {
  for (;;) {
    const int result = ::ioctl(fd, request, argument);
    if (result >= 0) return result;
    if (errno != EINTR) return std::unexpected(Error::from_errno(name));
  }
}

// The numbers of ioctls whose argument has a flexible array: the kernel counts its 8-byte head
// only, while in C++ the header's structs are larger (see CpuidTable).
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, uint64_t);
constexpr unsigned long kSetMsrs = _IOW(KVMIO, 0x89, uint64_t);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, uint64_t);
constexpr unsigned long kSetSignalMask = _IOW(KVMIO, 0x8b, uint32_t);  // a head of four

// struct kvm_msrs with one entry.
struct OneMsr {
  uint32_t count;
  uint32_t padding;
  kvm_msr_entry entry;
};

#define KVM_VALUE(fd, request, argument) kvm_ioctl(fd, request, argument, #request)
// For ioctls that return nothing of interest.
#define KVM_CALL(fd, request, argument) discard_value(KVM_VALUE(fd, request, argument))

Result<void> discard_value(Result<int> result) {
  if (!result) return std::unexpected(std::move(result).error());
  return {};
}

Error cannot_open(int error_number) {
  const char* remedy = "";
  if (error_number == ENOENT)
    remedy = "; load the kvm_intel or kvm_amd module, and enable virtualisation in the firmware";
  else if (error_number == EACCES || error_number == EPERM)
    remedy = "; add yourself to the group kvm ('sudo usermod -aG kvm $USER', then log in again)";
  else if (error_number == ENODEV || error_number == ENXIO)
    remedy =
        "; this host offers no virtualisation: enable it in the firmware, or nesting in the "
        "hypervisor below";
  return Error(ErrorKind::kHost,
               Error::from_errno("open '/dev/kvm'", error_number).message() + remedy, error_number);
}

}  // namespace

kvm_cpuid_entry2* CpuidTable::find(uint32_t function, uint32_t index) {
  for (kvm_cpuid_entry2& entry : entries()) {
    const bool indexed = (entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0;
    if (entry.function == function && (!indexed || entry.index == index)) return &entry;
  }
  return nullptr;
}

bool CpuidTable::append(const kvm_cpuid_entry2& entry) {
  if (block_.count >= kMaxEntries) return false;
  block_.entries[block_.count++] = entry;
  return true;
}

void CpuidTable::remove(uint32_t function) {
  const auto is_it = [function](const kvm_cpuid_entry2& e) { return e.function == function; };
  block_.count =
      static_cast<uint32_t>(std::ranges::remove_if(entries(), is_it).begin() - entries().begin());
}

Result<void> Vcpu::set_cpuid(const CpuidTable& cpuid) {
  return KVM_CALL(fd_.get(), kSetCpuid2, &cpuid.block_);
}

Result<kvm_sregs> Vcpu::sregs() const {
  kvm_sregs sregs{};
  TRY(KVM_CALL(fd_.get(), KVM_GET_SREGS, &sregs));
  return sregs;
}

Result<void> Vcpu::set_sregs(const kvm_sregs& sregs) {
  return KVM_CALL(fd_.get(), KVM_SET_SREGS, &sregs);
}

Result<kvm_regs> Vcpu::regs() const {
  kvm_regs regs{};
  TRY(KVM_CALL(fd_.get(), KVM_GET_REGS, &regs));
  return regs;
}

Result<void> Vcpu::set_regs(const kvm_regs& regs) {
  return KVM_CALL(fd_.get(), KVM_SET_REGS, &regs);
}

Result<kvm_lapic_state> Vcpu::lapic() const {
  kvm_lapic_state state{};
  TRY(KVM_CALL(fd_.get(), KVM_GET_LAPIC, &state));
  return state;
}

Result<void> Vcpu::set_lapic(const kvm_lapic_state& state) {
  return KVM_CALL(fd_.get(), KVM_SET_LAPIC, &state);
}

Result<bool> Vcpu::set_msr(uint32_t index, uint64_t value) {
  OneMsr msr{.count = 1, .padding = 0, .entry = {.index = index, .reserved = 0, .data = value}};
  // The result is the number of MSRs that were set.
  return TRY(KVM_VALUE(fd_.get(), kSetMsrs, &msr)) == 1;
}

Result<bool> Vcpu::enter() {
  if (::ioctl(fd_.get(), KVM_RUN, 0) >= 0) return true;
  // EAGAIN: an application processor that has not been started yet was woken.
  if (errno == EINTR || errno == EAGAIN) return false;
  return std::unexpected(Error::from_errno("KVM_RUN"));
}

// KVM lets the signal in only while the guest runs, and leaves before it would be delivered: it
// stays pending, and there is no moment in which a kick could be lost.
Result<void> Vcpu::let_kicks_interrupt_the_guest() {
  struct {
    uint32_t length;
    uint64_t blocked;  // the kernel's sigset_t
  } __attribute__((packed)) mask{.length = sizeof(uint64_t), .blocked = ~uint64_t{0}};
  mask.blocked &= ~(uint64_t{1} << (kick_signal() - 1));
  return KVM_CALL(fd_.get(), kSetSignalMask, &mask);
}

void Vcpu::forget_kicks() {
  sigset_t kick;
  sigemptyset(&kick);
  sigaddset(&kick, kick_signal());
  const timespec now{};
  while (::sigtimedwait(&kick, nullptr, &now) > 0) {
  }
}

void Vcpu::set_immediate_exit(bool on) { run()->immediate_exit = on ? 1 : 0; }

Result<void> Vm::set_memory(const GuestMemory& memory) {
  for (size_t i = 0; i < memory.region_count(); ++i) {
    const GuestMemory::Range range = memory.region(i);
    const auto slice = memory.slice(range.start, range.size_bytes);
    CHECK(slice.has_value());
    kvm_userspace_memory_region region{};
    region.slot = static_cast<__u32>(i);
    region.guest_phys_addr = to_number(range.start);
    region.memory_size = range.size_bytes;
    region.userspace_addr = reinterpret_cast<uintptr_t>(slice->as_iovec().iov_base);
    TRY(KVM_CALL(fd_.get(), KVM_SET_USER_MEMORY_REGION, &region));
  }
  return {};
}

Result<void> Vm::set_tss_address(uint64_t address) {
  return KVM_CALL(fd_.get(), KVM_SET_TSS_ADDR, address);
}

Result<void> Vm::set_identity_map_address(uint64_t address) {
  return KVM_CALL(fd_.get(), KVM_SET_IDENTITY_MAP_ADDR, &address);
}

Result<void> Vm::create_irqchip() { return KVM_CALL(fd_.get(), KVM_CREATE_IRQCHIP, 0); }

Result<void> Vm::create_pit() {
  kvm_pit_config config{};
  config.flags = KVM_PIT_SPEAKER_DUMMY;  // port 0x61, which kernels poll while they calibrate
  return KVM_CALL(fd_.get(), KVM_CREATE_PIT2, &config);
}

Result<void> Vm::connect_irqfd(int event_fd, uint32_t gsi) {
  kvm_irqfd irqfd{};
  irqfd.fd = static_cast<__u32>(event_fd);
  irqfd.gsi = gsi;
  return KVM_CALL(fd_.get(), KVM_IRQFD, &irqfd);
}

Result<void> Vm::connect_ioeventfd(int event_fd, uint64_t address, uint32_t value) {
  kvm_ioeventfd ioeventfd{};
  ioeventfd.fd = event_fd;
  ioeventfd.addr = address;
  ioeventfd.len = sizeof(uint32_t);
  ioeventfd.datamatch = value;
  ioeventfd.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
  return KVM_CALL(fd_.get(), KVM_IOEVENTFD, &ioeventfd);
}

Result<void> Vm::set_irq_level(uint32_t gsi, bool asserted) const {
  kvm_irq_level level{};
  level.irq = gsi;
  level.level = asserted ? 1 : 0;
  return KVM_CALL(fd_.get(), KVM_IRQ_LINE, &level);
}

Result<Vcpu> Vm::create_vcpu(unsigned index) {
  UniqueFd fd(TRY(KVM_VALUE(fd_.get(), KVM_CREATE_VCPU, static_cast<unsigned long>(index))));
  Mapping run = TRY(Mapping::of_file(fd.get(), 0, run_size_, PROT_READ | PROT_WRITE, MAP_SHARED));
  return Vcpu(index, std::move(fd), std::move(run));
}

Result<Kvm> Kvm::open() {
  auto opened = open_file("/dev/kvm", O_RDWR);
  if (!opened) return std::unexpected(cannot_open(opened.error().error_number()));
  const int version = ::ioctl(opened->get(), KVM_GET_API_VERSION, 0);
  if (version < 0) return fail(ErrorKind::kHost, "/dev/kvm: is not a KVM device");
  if (version != KVM_API_VERSION)
    return fail(ErrorKind::kHost, "/dev/kvm: API version {}, hull needs {}", version,
                KVM_API_VERSION);
  const int run_size = TRY(KVM_VALUE(opened->get(), KVM_GET_VCPU_MMAP_SIZE, 0));
  return Kvm(*std::move(opened), static_cast<size_t>(run_size));
}

int Kvm::capability(int extension) const {
  return std::max(::ioctl(fd_.get(), KVM_CHECK_EXTENSION, static_cast<long>(extension)), 0);
}

unsigned Kvm::max_vcpus() const {
  const int maximum = capability(KVM_CAP_MAX_VCPUS);
  // 4 is what the API document says to assume where the capability is unknown.
  return maximum > 0 ? static_cast<unsigned>(maximum) : 4;
}

Result<CpuidTable> Kvm::supported_cpuid() const {
  CpuidTable table;
  table.block_.count = CpuidTable::kMaxEntries;
  TRY(KVM_CALL(fd_.get(), kGetSupportedCpuid, &table.block_));
  return table;
}

Result<Vm> Kvm::create_vm() const {
  // EINTR is common on loaded hosts while the kernel waits for grace periods; the wrapper retries.
  return Vm(UniqueFd(TRY(KVM_VALUE(fd_.get(), KVM_CREATE_VM, 0))), run_size_);
}

}  // namespace hull::vmm
