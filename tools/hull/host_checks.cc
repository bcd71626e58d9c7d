#include "tools/hull/host_checks.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/unique_fd.h"
#include "blockcore/engine/io_engine.h"
#include "virtio/user/user_network.h"
#include "vmm/host_facts.h"
#include "vmm/kvm.h"

namespace hull::cli {

namespace {

HostCheck capabilities_check(const vmm::Kvm& kvm) {
  const std::string missing =
      vmm::missing_capabilities([&kvm](int extension) { return kvm.capability(extension); });
  if (!missing.empty())
    return {"capabilities", CheckStatus::kFail, "KVM lacks: " + missing,
            vmm::kMissingCapabilitiesRemedy};
  return {"capabilities", CheckStatus::kOk,
          fmt::format("all that hull uses; up to {} vCPUs", kvm.max_vcpus()), ""};
}

HostCheck check_hardware() {
  if (vmm::host_has_hardware_virtualisation())
    return {"hardware", CheckStatus::kOk, "Intel VT-x or AMD-V", ""};
  return {"hardware", CheckStatus::kNote,
          "no VT-x or AMD-V: KVM emulates the guest's kernel mode, stock kernels cannot run",
          "enable virtualisation in the firmware, or nesting in the hypervisor below"};
}

HostCheck check_io_uring() {
  const auto engine = blockcore::IoEngine::create(blockcore::IoEngineKind::kUring);
  if (engine) return {"io_uring", CheckStatus::kOk, "disk I/O goes through io_uring", ""};
  return {"io_uring", CheckStatus::kNote,
          "refused (" + engine.error().message() + "): disk I/O goes through a thread pool",
          "set sysctl kernel.io_uring_disabled=0, or allow it in the container's seccomp profile"};
}

// CAP_NET_ADMIN, as far as this process knows.
bool may_make_interfaces() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[CAP_TO_INDEX(CAP_NET_ADMIN)].effective & CAP_TO_MASK(CAP_NET_ADMIN)) != 0;
}

HostCheck check_tun() {
  const auto tun = open_file("/dev/net/tun", O_RDWR);
  if (tun && may_make_interfaces()) return {"tun", CheckStatus::kOk, "taps for virtio-net", ""};
  if (tun)
    return {"tun", CheckStatus::kOk, "taps for virtio-net that were made for you",
            "making one takes root: ip tuntap add dev tap0 mode tap user NAME"};
  const bool denied = tun.error().error_number() == EACCES || tun.error().error_number() == EPERM;
  return {"tun", CheckStatus::kNote, tun.error().message() + ": no taps for guests",
          denied ? "make /dev/net/tun readable and writable for you" : "modprobe tun"};
}

// One that is started, and ended at once.
HostCheck check_user_network() {
  const auto works = []() -> Result<void> {
    const auto network = TRY(virtio::UserNetwork::open(
        {.name = "passt", .mac = {0x52, 0x54, 0, 0, 0, 1}, .mtu = {}, .spec = {}}));
    return network->ready({});
  }();
  if (works)
    return {"user-net", CheckStatus::kOk, "--net user: passt carries a guest's packets", ""};
  return {"user-net", CheckStatus::kNote, works.error().message(),
          "or a tap that was made for you: --net tap,ifname=tap0"};
}

HostCheck check_memory() {
  struct sysinfo info{};
  ::sysinfo(&info);
  const uint64_t free_mib = (uint64_t{info.freeram} + info.bufferram) * info.mem_unit >> 20;
  return {"memory", free_mib >= 64 ? CheckStatus::kOk : CheckStatus::kNote,
          fmt::format("{} MiB free", free_mib), free_mib >= 64 ? "" : "stop something"};
}

HostCheck check_program(const char* program, const char* purpose) {
  for (const char* directory : {"/usr/bin/", "/usr/sbin/", "/bin/", "/sbin/", "/usr/local/bin/"})
    if (::access((std::string(directory) + program).c_str(), X_OK) == 0)
      return {program, CheckStatus::kOk, fmt::format("{}{}", directory, program), ""};
  return {program, CheckStatus::kNote, fmt::format("not installed: {}", purpose),
          fmt::format("install the package that has {}", program)};
}

}  // namespace

std::vector<HostCheck> check_host() {
  std::vector<HostCheck> checks;
  const auto kvm = vmm::Kvm::open();
  if (kvm) {
    checks.push_back({"kvm", CheckStatus::kOk, "/dev/kvm opens", ""});
    checks.push_back(capabilities_check(*kvm));
  } else {
    // The message carries the remedy behind a semicolon.
    const std::string& message = kvm.error().message();
    const size_t split = std::min(message.find("; "), message.size());
    checks.push_back({"kvm", CheckStatus::kFail, message.substr(0, split),
                      message.substr(std::min(split + 2, message.size()))});
  }
  checks.push_back(check_hardware());
  checks.push_back(check_io_uring());
  checks.push_back(check_tun());
  checks.push_back(check_user_network());
  checks.push_back(check_memory());
  checks.push_back(check_program("qemu-img", "a second opinion on images"));
  checks.push_back(check_program("ip", "to set up bridges and addresses for taps"));
  return checks;
}

}  // namespace hull::cli
