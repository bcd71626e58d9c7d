#include "vmm/host_facts.h"

#include <linux/kvm.h>
#include <unistd.h>

namespace hull::vmm {

namespace {

struct Capability {
  int number;
  const char* name;
};

constexpr Capability kNeeded[] = {
    {KVM_CAP_USER_MEMORY, "user memory"},
    {KVM_CAP_IRQCHIP, "in-kernel interrupt controller"},
    {KVM_CAP_PIT2, "PIT"},
    {KVM_CAP_IRQFD, "irqfd"},
    {KVM_CAP_IOEVENTFD, "ioeventfd"},
    {KVM_CAP_SET_TSS_ADDR, "TSS address"},
    {KVM_CAP_SET_IDENTITY_MAP_ADDR, "identity map address"},
    {KVM_CAP_EXT_CPUID, "CPUID"},
    {KVM_CAP_MP_STATE, "MP state"},
    {KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
};

}  // namespace

bool host_has_hardware_virtualisation() {
  // CPUID itself and not /proc/cpuinfo: no file is needed, and it is what KVM's modules test.
  uint32_t eax = 1, ebx = 0, ecx = 0, edx = 0;
  asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  if ((ecx & (1u << 5)) != 0) return true;  // VMX
  eax = 0x80000001;
  ecx = 0;
  asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  return (ecx & (1u << 2)) != 0;  // SVM
}

uint64_t host_memory_bytes() {
  return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
         static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

Result<void> check_guest_memory(uint64_t guest_bytes, uint64_t host_bytes) {
  if (guest_bytes / kMaxMemoryTimesHost <= host_bytes) return {};
  return fail(ErrorKind::kHost,
              "memory: {} MiB are more than {} times what this host has ({} MiB): KVM's own tables "
              "for them would take the host's memory",
              guest_bytes >> 20, kMaxMemoryTimesHost, host_bytes >> 20);
}

std::string missing_capabilities(const std::function<int(int extension)>& value_of) {
  std::string missing;
  for (const Capability& capability : kNeeded)
    if (value_of(capability.number) == 0)
      missing += fmt::format("{}{}", missing.empty() ? "" : ", ", capability.name);
  return missing;
}

Result<void> check_capabilities(const Kvm& kvm) {
  const std::string missing =
      missing_capabilities([&kvm](int extension) { return kvm.capability(extension); });
  if (missing.empty()) return {};
  return fail(ErrorKind::kHost, "KVM lacks: {}; {}", missing, kMissingCapabilitiesRemedy);
}

}  // namespace hull::vmm
