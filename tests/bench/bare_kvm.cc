// The limit that hull's start is measured against: one vCPU, 128 MiB, an in-kernel interrupt
// controller, one irqfd and one ioeventfd, and a guest that writes one byte to COM1 and halts.
// Nothing but the KVM calls that such a machine needs, in their cheapest order; linked statically.
// Ends when the byte is on stdout.
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

int must(int result, const char* what) {
  if (result < 0) {
    perror(what);
    exit(1);
  }
  return result;
}
#define MUST(call) must(call, #call)

constexpr size_t kRamBytes = 128u << 20;
// mov $'A',%al; mov $0x3f8,%dx; out %al,(%dx); hlt
constexpr uint8_t kGuest[] = {0xb0, 'A', 0xba, 0xf8, 0x03, 0xee, 0xf4};

// struct kvm_cpuid2 and the ioctls that take it, without the header's flexible array, which has
// another layout in C++.
struct CpuidTable {
  uint32_t count;
  uint32_t padding;
  kvm_cpuid_entry2 entries[256];
};
constexpr unsigned long kGetSupportedCpuid = _IOWR(KVMIO, 0x05, uint64_t);
constexpr unsigned long kSetCpuid2 = _IOW(KVMIO, 0x90, uint64_t);

}  // namespace

int main() {
  const int kvm = MUST(open("/dev/kvm", O_RDWR | O_CLOEXEC));
  const int vm = MUST(ioctl(kvm, KVM_CREATE_VM, 0));
  void* ram = mmap(nullptr, kRamBytes, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (ram == MAP_FAILED) return 1;
  memcpy(static_cast<uint8_t*>(ram) + 0x1000, kGuest, sizeof kGuest);
  kvm_userspace_memory_region region{};
  region.memory_size = kRamBytes;
  region.userspace_addr = reinterpret_cast<uintptr_t>(ram);
  MUST(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
  MUST(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000ul));
  MUST(ioctl(vm, KVM_CREATE_IRQCHIP, 0));
  kvm_irqfd irqfd{};
  irqfd.fd = static_cast<uint32_t>(MUST(eventfd(0, EFD_CLOEXEC)));
  irqfd.gsi = 4;
  MUST(ioctl(vm, KVM_IRQFD, &irqfd));
  kvm_ioeventfd ioeventfd{};
  ioeventfd.fd = MUST(eventfd(0, EFD_CLOEXEC));
  ioeventfd.addr = 0xd0000050;
  ioeventfd.len = 4;
  ioeventfd.flags = KVM_IOEVENTFD_FLAG_DATAMATCH;
  MUST(ioctl(vm, KVM_IOEVENTFD, &ioeventfd));
  const int vcpu = MUST(ioctl(vm, KVM_CREATE_VCPU, 0));
  const auto run_size = static_cast<size_t>(MUST(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0)));
  auto* run =
      static_cast<kvm_run*>(mmap(nullptr, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0));
  static CpuidTable cpuid;
  cpuid.count = 256;
  MUST(ioctl(kvm, kGetSupportedCpuid, &cpuid));
  MUST(ioctl(vcpu, kSetCpuid2, &cpuid));
  kvm_sregs sregs{};
  MUST(ioctl(vcpu, KVM_GET_SREGS, &sregs));
  sregs.cs.base = 0;
  sregs.cs.selector = 0;
  MUST(ioctl(vcpu, KVM_SET_SREGS, &sregs));
  kvm_regs regs{};
  regs.rip = 0x1000;
  regs.rflags = 2;
  MUST(ioctl(vcpu, KVM_SET_REGS, &regs));
  MUST(ioctl(vcpu, KVM_RUN, 0));
  if (run->exit_reason != KVM_EXIT_IO) return 1;
  const uint8_t* data = reinterpret_cast<uint8_t*>(run) + run->io.data_offset;
  return write(STDOUT_FILENO, data, 1) == 1 ? 0 : 1;
}
