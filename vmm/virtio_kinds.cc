#include "vmm/virtio_kinds.h"

#include "virtio/block_device.h"
#include "virtio/net_device.h"
#include "virtio/rng_device.h"
#include "virtio/tap.h"
#include "virtio/user/user_network.h"
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

Result<std::shared_ptr<virtio::NetBackend>> open_tap(HostParts& host,
                                                     const config::NetworkConfig& network,
                                                     const std::string& name) {
  std::shared_ptr<virtio::Tap> tap = TRY(virtio::Tap::open({.ifname = network.ifname,
                                                            .create = network.managed,
                                                            .bridge = network.bridge,
                                                            .mtu = network.mtu})
                                             .with_context(name));
  host.add_network({.interface = tap->ifname(), .published = {}});
  return tap;
}

// It starts while the machine is built, which takes as long.
Result<std::shared_ptr<virtio::NetBackend>> open_user_network(HostParts& host,
                                                              const config::NetworkConfig& network,
                                                              const std::string& name) {
  std::shared_ptr<virtio::UserNetwork> user = TRY(virtio::UserNetwork::open(
      {.name = name, .mac = network.mac, .mtu = network.mtu, .spec = network.user}));
  host.add_network({.interface = {}, .published = user->published()});
  host.before_start([user](const std::stop_token& cancel) { return user->ready(cancel); });
  return user;
}

Result<std::shared_ptr<virtio::NetBackend>> open_backend(HostParts& host,
                                                         const config::NetworkConfig& network,
                                                         const std::string& name) {
  const bool never_runs = host.options().return_device_tree;
  if (network.kind == config::NetworkKind::kUser && !never_runs)
    return open_user_network(host, network, name);
  if (network.kind == config::NetworkKind::kTap || network.kind == config::NetworkKind::kBridge)
    return open_tap(host, network, name);
  host.add_network({});
  return nullptr;
}

Result<DeviceMaker> open_network(HostParts& host, const DomainConfig& domain, size_t index) {
  const config::NetworkConfig& network = domain.networks[index];
  const std::string name = fmt::format("net{}", index);
  const std::shared_ptr<virtio::NetBackend> backend = TRY(open_backend(host, network, name));
  const std::shared_ptr<virtio::WorkerThread> worker = TRY(host.make_worker(name));
  const virtio::NetOptions options{
      .name = name, .mac = network.mac, .mtu = network.mtu, .link_up = network.link_up};
  return [options, backend, worker] {
    return std::make_unique<virtio::NetDevice>(options, backend.get(), *worker);
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
