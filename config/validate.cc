#include "config/validate.h"

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "base/text.h"
#include "config/validate_devices.h"
#include "config/values.h"

namespace hull::config {

namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

void check_identity(const DomainConfig& config, Problems& problems) {
  problems.about(Subject::kName);
  if (const auto named = check_domain_name(config.name); !named)
    problems.add("name: {}", named.error().message());
  if (config.uuid.empty()) return;
  problems.about(Subject::kUuid);
  const auto uuid = parse_uuid(config.uuid);
  if (!uuid)
    problems.add("uuid: {}", uuid.error().message());
  else if (*uuid != config.uuid)
    problems.add("uuid: '{}' is not in canonical form ({})", config.uuid, *uuid);
}

void check_size(const DomainConfig& config, Problems& problems) {
  problems.about(Subject::kMemory);
  if (config.memory_bytes == 0)
    problems.add("memory: no size given");
  else if (config.memory_bytes < kMinMemoryBytes)
    problems.add("memory: {} bytes are less than the minimum of {} MiB", config.memory_bytes,
                 kMinMemoryBytes >> 20);
  else if (config.memory_bytes > kMaxMemoryBytes)
    problems.add("memory: {} bytes are more than the maximum of {} TiB", config.memory_bytes,
                 kMaxMemoryBytes >> 40);
  else if (!is_aligned(config.memory_bytes, kMemoryGranularity))
    problems.add("memory: {} bytes are not a multiple of {}", config.memory_bytes,
                 kMemoryGranularity);
  problems.about(Subject::kVcpus);
  if (config.vcpus < 1 || config.vcpus > kMaxVcpus)
    problems.add("vcpu: {} is not in 1 to {}", config.vcpus, kMaxVcpus);
  else if (config.vcpus_online < 1 || config.vcpus_online > config.vcpus)
    problems.add("vcpu: {} online of {} at most", config.vcpus_online, config.vcpus);
  problems.about(Subject::kCpu);
  if (config.disabled_cpu_features.size() + config.required_cpu_features.size() > kMaxCpuFeatures)
    problems.add("cpu: more than {} features", kMaxCpuFeatures);
}

void check_bios(const BootConfig& boot, Problems& problems) {
  if (!boot.bios.image.empty()) check_path("loader", boot.bios.image, problems);
  if (!boot.initrd.empty() || !boot.cmdline.empty())
    problems.add(
        "kernel: none given (<os><kernel>, or --kernel FILE) to which initrd and command line "
        "could go");
}

void check_boot(const BootConfig& boot, Problems& problems) {
  problems.about(Subject::kKernel);
  if (boot.kind == BootKind::kKernel) {
    if (boot.kernel.empty())
      problems.add("kernel: none given (<os><kernel>, or --kernel FILE)");
    else
      check_path("kernel", boot.kernel, problems);
  }
  if (boot.kind == BootKind::kBios) check_bios(boot, problems);
  problems.about(Subject::kInitrd);
  if (!boot.initrd.empty()) check_path("initrd", boot.initrd, problems);
  problems.about(Subject::kCommandLine);
  if (boot.cmdline.size() > kMaxCommandLineBytes)
    problems.add("cmdline: longer than {} bytes", kMaxCommandLineBytes);
  if (boot.cmdline.find('\0') != std::string::npos) problems.add("cmdline: contains a NUL");
}

void check_lifecycle(const DomainConfig& config, Problems& problems) {
  problems.about(Subject::kLifecycle);
  // A guest could never be stopped from inside; libvirt refuses the pair as well.
  if (config.on_poweroff == LifecycleAction::kRestart &&
      config.on_reboot == LifecycleAction::kDestroy)
    problems.add("on_poweroff: restart together with on_reboot destroy is contradictory");
}

void check_devices(const DomainConfig& config, Problems& problems) {
  const size_t devices = config.disks.size() + config.networks.size() + (config.rng ? 1 : 0);
  problems.about(Subject::kDomain);
  if (devices > kMaxVirtioDevices)
    return problems.add("{} disks, interfaces and random number devices are more than {}", devices,
                        kMaxVirtioDevices);
  check_disks(config.disks, problems);
  check_networks(config.networks, problems);
}

}  // namespace

Result<void> check_domain_name(std::string_view name) {
  constexpr auto kKind = ErrorKind::kInvalidConfig;
  if (name.empty()) return fail(kKind, "a domain needs a name");
  if (name.size() > kMaxNameBytes)
    return fail(kKind, "a name of {} bytes is longer than {}", name.size(), kMaxNameBytes);
  if (std::ranges::any_of(name, is_control)) return fail(kKind, "control character in a name");
  if (!is_utf8(name)) return fail(kKind, "a name that is not UTF-8");
  if (name.find('/') != std::string_view::npos) return fail(kKind, "'{}' cannot contain '/'", name);
  if (name == "." || name == "..") return fail(kKind, "'{}' is not a name", name);
  if (name.front() == '-') return fail(kKind, "'{}' cannot begin with '-'", name);
  return {};
}

std::vector<Problem> validate(const DomainConfig& config) {
  Problems problems;
  check_identity(config, problems);
  check_size(config, problems);
  check_boot(config.boot, problems);
  check_devices(config, problems);
  if (config.console) check_console(*config.console, problems);
  if (config.rng) check_rng(*config.rng, problems);
  check_lifecycle(config, problems);
  return std::move(problems).take();
}

}  // namespace hull::config
