#include "config/boot_order.h"

#include <algorithm>
#include <map>

namespace hull::config {

std::vector<std::string> boot_order(const DomainConfig& config) {
  std::map<unsigned, std::string> ordered;
  for (const DiskConfig& disk : config.disks)
    if (disk.boot_order) ordered.emplace(*disk.boot_order, disk.target);
  std::vector<std::string> names;
  for (auto& [order, name] : ordered) names.push_back(std::move(name));
  if (!names.empty()) return names;

  const std::vector<BootDevice>& kinds = config.boot.bios.devices;
  if (kinds.empty())
    for (const DiskConfig& disk : config.disks) names.push_back(disk.target);
  for (const BootDevice kind : kinds) {
    const bool cdrom = kind == BootDevice::kCdrom;
    const auto disk = std::ranges::find_if(
        config.disks, [cdrom](const DiskConfig& candidate) { return candidate.cdrom == cdrom; });
    if (disk != config.disks.end()) names.push_back(disk->target);
  }
  return names;
}

}  // namespace hull::config
