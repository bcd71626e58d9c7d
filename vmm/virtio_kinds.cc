#include "vmm/virtio_kinds.h"

#include "virtio/block_device.h"
#include "virtio/net_device.h"
#include "virtio/rng_device.h"
#include "virtio/tap.h"
#include "vmm/host_parts.h"

namespace hull::vmm {

namespace {

using config::DomainConfig;

Result<DeviceMaker> open_disk(HostParts& host, const DomainConfig& domain, size_t index) {
  const config::DiskConfig& disk = domain.disks[index];
  const HostParts::OpenDisk opened = TRY(host.open_disk(disk));
  virtio::BlockOptions options{.name = disk.target,
                               .serial = disk.serial,
                               .read_only = disk.read_only,
                               .discard = disk.discard == config::DiscardMode::kUnmap,
                               .queue_size = static_cast<uint16_t>(disk.queue_size),
                               .logical_block_size = disk.logical_block_size,
                               .physical_block_size = disk.physical_block_size};
  if (host.options().on_disk_error)
    options.on_error = [report = host.options().on_disk_error,
                        name = disk.target](const Error& error) { report(name, error); };
  return [options, opened] {
    return std::make_unique<virtio::BlockDevice>(options, opened.disk, opened.engine);
  };
}

Result<std::shared_ptr<virtio::Tap>> open_tap(const config::NetworkConfig& network,
                                              const std::string& name) {
  if (network.kind == config::NetworkKind::kUser)
    return fail(ErrorKind::kUnsupported, "{}: user-mode networking is not built in; use a tap",
                name);
  if (network.kind == config::NetworkKind::kNull) return nullptr;
  return std::shared_ptr<virtio::Tap>(TRY(virtio::Tap::open({.ifname = network.ifname,
                                                             .create = network.managed,
                                                             .bridge = network.bridge,
                                                             .mtu = network.mtu})
                                              .with_context(name)));
}

Result<DeviceMaker> open_network(HostParts& host, const DomainConfig& domain, size_t index) {
  const config::NetworkConfig& network = domain.networks[index];
  const std::string name = fmt::format("net{}", index);
  const std::shared_ptr<virtio::Tap> tap = TRY(open_tap(network, name));
  host.add_interface(tap == nullptr ? "" : tap->ifname());
  const std::shared_ptr<virtio::WorkerThread> worker = TRY(host.make_worker(name));
  const virtio::NetOptions options{
      .name = name, .mac = network.mac, .mtu = network.mtu, .link_up = network.link_up};
  return [options, tap, worker] {
    return std::make_unique<virtio::NetDevice>(options, tap.get(), *worker);
  };
}

Result<DeviceMaker> open_entropy(HostParts& host, const DomainConfig& domain, size_t /*index*/) {
  const std::shared_ptr<virtio::WorkerThread> worker = TRY(host.make_worker("rng"));
  const virtio::RngOptions options{.rate_bytes = domain.rng->rate_bytes,
                                   .rate_period_ms = domain.rng->rate_period_ms};
  return [options, worker] { return std::make_unique<virtio::RngDevice>(options, *worker); };
}

constexpr VirtioKind kKinds[] = {
    {"disk", [](const DomainConfig& domain) { return domain.disks.size(); }, open_disk},
    {"network", [](const DomainConfig& domain) { return domain.networks.size(); }, open_network},
    {"entropy", [](const DomainConfig& domain) { return size_t{domain.rng ? 1U : 0U}; },
     open_entropy},
};

}  // namespace

std::span<const VirtioKind> virtio_kinds() { return kKinds; }

}  // namespace hull::vmm
