#include "vmm/kvm.h"

#include <signal.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/checked.h"
#include "base/thread.h"
#include "vmm/kvm_ioctl.h"

namespace hull::vmm {

namespace {

// The numbers of ioctls whose argument has a flexible array: the kernel counts its head only, while
// in C++ the header's structs are larger.
constexpr unsigned long kSetGsiRouting = _IOW(KVMIO, 0x6a, uint64_t);
constexpr unsigned long kSetSignalMask = _IOW(KVMIO, 0x8b, uint32_t);  // a head of four

// KVM takes less than 2^31 pages in a slot; a region of more gets several.
constexpr uint64_t kMaxSlotBytes = uint64_t{4} << 40;
constexpr uint64_t kSlotsPerRegion = 16;

kvm_ioeventfd to_kvm(const IoEvent& event) {
  kvm_ioeventfd result{};
  result.fd = event.event_fd;
  result.addr = event.address;
  result.len = event.length;
  if (event.value) {
    result.datamatch = *event.value;
    result.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
  }
  if (event.port) result.flags |= KVM_IOEVENTFD_FLAG_PIO;
  return result;
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

Result<bool> Vcpu::enter() {
  if (::ioctl(fd_.get(), KVM_RUN, 0) >= 0) return true;
  if (errno == EINTR) return false;
  const int error = errno;
  if (error != EAGAIN) return std::unexpected(Error::of_host("KVM_RUN", error));
  // An application processor that has not been started yet was woken; afterwards never again.
  if (is_unstarted_) {
    kvm_mp_state state{};
    TRY(KVM_CALL(fd_.get(), KVM_GET_MP_STATE, &state));
    is_unstarted_ = state.mp_state == KVM_MP_STATE_UNINITIALIZED;
    return false;
  }
  return fail(ErrorKind::kHost,
              "{}: KVM cannot make a thread of its own; look at 'ulimit -u' and the pids limit of "
              "the control group",
              Error::of_host("KVM_RUN", error).message());
}

// KVM lets the signal in only while the guest runs, and leaves before it would be delivered: it
// stays pending, and there is no moment in which a kick could be lost.
Result<void> Vcpu::let_kicks_interrupt_the_guest() {
  struct {
    uint32_t length;
    uint64_t blocked;  // the kernel's sigset_t
  } __attribute__((packed)) mask{.length = sizeof(uint64_t), .blocked = ~uint64_t{0}};
  mask.blocked &= ~(uint64_t{1} << (kick_signal() - 1));
  return without_value(kvm_ioctl(fd_.get(), kSetSignalMask, &mask, "KVM_SET_SIGNAL_MASK"));
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
    const MemoryKind kind = memory.region(i).kind;
    const bool read_only = kind == MemoryKind::kRom || kind == MemoryKind::kFlash;
    TRY(set_slots(memory, i, read_only ? SlotAccess::kReadOnly : SlotAccess::kReadWrite));
  }
  return {};
}

std::vector<kvm_userspace_memory_region> slots_of_region(size_t index, const MemoryRegion& region,
                                                         uintptr_t host, SlotAccess access) {
  CHECK(divide_up(region.size_bytes, kMaxSlotBytes) <= kSlotsPerRegion);
  std::vector<kvm_userspace_memory_region> slots;
  for (uint64_t offset = 0; offset < region.size_bytes; offset += kMaxSlotBytes) {
    kvm_userspace_memory_region slot{};
    slot.slot = static_cast<__u32>(index * kSlotsPerRegion + slots.size());
    slot.flags = access == SlotAccess::kReadOnly ? KVM_MEM_READONLY : 0;
    slot.guest_phys_addr = to_number(region.start) + offset;
    if (access != SlotAccess::kNone)
      slot.memory_size = std::min(region.size_bytes - offset, kMaxSlotBytes);
    slot.userspace_addr = host + offset;
    slots.push_back(slot);
  }
  return slots;
}

Result<void> Vm::set_slots(const GuestMemory& memory, size_t index, SlotAccess access) {
  const auto host = reinterpret_cast<uintptr_t>(memory.region_slice(index).as_iovec().iov_base);
  for (auto& slot : slots_of_region(index, memory.region(index), host, access))
    TRY(KVM_CALL(fd_.get(), KVM_SET_USER_MEMORY_REGION, &slot));
  return {};
}

Result<void> Vm::connect_irqfd(int event_fd, uint32_t gsi) {
  kvm_irqfd irqfd{};
  irqfd.fd = static_cast<__u32>(event_fd);
  irqfd.gsi = gsi;
  return KVM_CALL(fd_.get(), KVM_IRQFD, &irqfd);
}

Result<void> Vm::disconnect_irqfd(int event_fd, uint32_t gsi) {
  kvm_irqfd irqfd{};
  irqfd.fd = static_cast<__u32>(event_fd);
  irqfd.gsi = gsi;
  irqfd.flags = KVM_IRQFD_FLAG_DEASSIGN;
  return KVM_CALL(fd_.get(), KVM_IRQFD, &irqfd);
}

Result<void> Vm::connect(const IoEvent& event) {
  kvm_ioeventfd ioeventfd = to_kvm(event);
  return KVM_CALL(fd_.get(), KVM_IOEVENTFD, &ioeventfd);
}

Result<void> Vm::disconnect(const IoEvent& event) {
  kvm_ioeventfd ioeventfd = to_kvm(event);
  ioeventfd.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
  return KVM_CALL(fd_.get(), KVM_IOEVENTFD, &ioeventfd);
}

Result<void> Vm::set_irq_level(uint32_t gsi, bool asserted) const {
  kvm_irq_level level{};
  level.irq = gsi;
  level.level = asserted ? 1 : 0;
  return KVM_CALL(fd_.get(), KVM_IRQ_LINE, &level);
}

bool Vm::signal_msi(uint64_t address, uint32_t data) const {
  kvm_msi msi{};
  msi.address_lo = static_cast<__u32>(address);
  msi.address_hi = static_cast<__u32>(address >> 32);
  msi.data = data;
  return ::ioctl(fd_.get(), KVM_SIGNAL_MSI, &msi) > 0;
}

Result<void> Vm::set_gsi_routes(std::span<const kvm_irq_routing_entry> routes) {
  // struct kvm_irq_routing: its flexible array lies elsewhere in C++.
  std::vector<uint64_t> block(1 + routes.size_bytes() / sizeof(uint64_t));
  static_assert(sizeof(kvm_irq_routing_entry) % sizeof(uint64_t) == 0);
  const uint32_t head[2] = {static_cast<uint32_t>(routes.size()), 0};
  std::memcpy(block.data(), head, sizeof head);
  if (!routes.empty()) std::memcpy(block.data() + 1, routes.data(), routes.size_bytes());
  return without_value(kvm_ioctl(fd_.get(), kSetGsiRouting, block.data(), "KVM_SET_GSI_ROUTING"));
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

Result<Vm> Kvm::create_vm() const {
  // EINTR is common on loaded hosts while the kernel waits for grace periods; the wrapper retries.
  return Vm(UniqueFd(TRY(KVM_VALUE(fd_.get(), KVM_CREATE_VM, 0))), run_size_);
}

}  // namespace hull::vmm
