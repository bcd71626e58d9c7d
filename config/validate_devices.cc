#include "config/validate_devices.h"

#include <sys/un.h>

#include <algorithm>
#include <bit>

#include "config/network_source.h"
#include "config/validate.h"
#include "config/values.h"

namespace hull::config {

namespace {

constexpr size_t kMaxTargetBytes = 16;

bool is_printable(char c) { return c >= 0x20 && c < 0x7f; }

// Without repeated slashes and "." parts, so that two spellings of one path compare equal; links
// are found when the images are opened and locked.
std::string normal_path(std::string_view path) {
  std::string normal;
  while (!path.empty()) {
    const size_t slash = std::min(path.find('/'), path.size());
    const std::string_view part = path.substr(0, slash);
    if (!part.empty() && part != ".") normal.append("/").append(part);
    path.remove_prefix(std::min(slash + 1, path.size()));
  }
  return normal;
}

// A path or, because the user has written it, an NBD URL.
void check_image(const std::string& what, const std::string& image, DiskFormat format,
                 Problems& problems) {
  if (!is_nbd_url(image)) return check_path(what, image, problems);
  if (image.size() > kMaxPathBytes) problems.add("{}: longer than {} bytes", what, kMaxPathBytes);
  if (format != DiskFormat::kRaw)
    problems.add(
        "{}: an NBD export has format raw; a server that knows qcow2 makes a qcow2 image one",
        what);
}

void check_encryption(const std::string& what, const std::optional<EncryptionConfig>& encryption,
                      DiskFormat format, Problems& problems) {
  if (encryption && format != DiskFormat::kQcow2)
    problems.add("{}: encryption is supported inside qcow2 images only", what);
}

void check_disk_image(const DiskConfig& disk, Problems& problems) {
  check_image(fmt::format("disk {}: file", disk.target), disk.file, disk.format, problems);
  check_encryption(fmt::format("disk {}", disk.target), disk.encryption, disk.format, problems);
  if (disk.backing_encryption.size() > kMaxBackingDepth ||
      (disk.backing && !disk.backing_encryption.empty()))
    problems.add("disk {}: secrets for more backing images than there are", disk.target);
  if (disk.shareable && disk.format != DiskFormat::kRaw)
    problems.add("disk {}: shareable needs the raw format: two writers would corrupt a qcow2 image",
                 disk.target);
  if (disk.shareable && disk.transient)
    problems.add("disk {}: shareable and transient exclude each other", disk.target);
  if (!disk.backing) return;
  if (disk.backing->size() > kMaxBackingDepth)
    problems.add("disk {}: backing chain deeper than {}", disk.target, kMaxBackingDepth);
  if (disk.format == DiskFormat::kRaw && !disk.backing->empty())
    problems.add("disk {}: a raw image has no backing file", disk.target);
  for (size_t level = 0; level < disk.backing->size(); ++level) {
    const BackingLevel& backing = (*disk.backing)[level];
    check_image(fmt::format("disk {}: backing file", disk.target), backing.file, backing.format,
                problems);
    check_encryption(fmt::format("disk {}: backing file", disk.target), backing.encryption,
                     backing.format, problems);
    if (backing.format == DiskFormat::kRaw && level + 1 < disk.backing->size())
      problems.add("disk {}: raw image '{}' in the middle of a backing chain", disk.target,
                   backing.file);
  }
}

void check_block_sizes(const DiskConfig& disk, Problems& problems) {
  if (!std::has_single_bit(disk.logical_block_size) || disk.logical_block_size < kMinBlockBytes ||
      disk.logical_block_size > kMaxLogicalBlockBytes)
    problems.add("disk {}: logical block size {} is not a power of two in {} to {}", disk.target,
                 disk.logical_block_size, kMinBlockBytes, kMaxLogicalBlockBytes);
  else if (!std::has_single_bit(disk.physical_block_size) ||
           disk.physical_block_size < disk.logical_block_size ||
           disk.physical_block_size > kMaxPhysicalBlockBytes)
    problems.add(
        "disk {}: physical block size {} is not a power of two between the logical one and {}",
        disk.target, disk.physical_block_size, kMaxPhysicalBlockBytes);
}

void check_disk_device(const DiskConfig& disk, Problems& problems) {
  if (disk.serial.size() > kMaxDiskSerialBytes)
    problems.add("disk {}: serial is longer than {} bytes", disk.target, kMaxDiskSerialBytes);
  if (!std::ranges::all_of(disk.serial, is_printable))
    problems.add("disk {}: serial contains characters other than printable ASCII", disk.target);
  if (!std::has_single_bit(disk.queue_size) || disk.queue_size < kMinQueueSize ||
      disk.queue_size > kMaxQueueSize)
    problems.add("disk {}: queue size {} is not a power of two in {} to {}", disk.target,
                 disk.queue_size, kMinQueueSize, kMaxQueueSize);
  if (disk.metadata_cache_bytes < kMinMetadataCacheBytes ||
      disk.metadata_cache_bytes > kMaxMetadataCacheBytes)
    problems.add("disk {}: the metadata cache has {} bytes, not {} to {}", disk.target,
                 disk.metadata_cache_bytes, kMinMetadataCacheBytes, kMaxMetadataCacheBytes);
  check_block_sizes(disk, problems);
}

// One image behind two disks is safe only if nobody writes or if sharing was asked for.
bool may_share(const DiskConfig& a, const DiskConfig& b) {
  const auto harmless = [](const DiskConfig& disk) { return disk.read_only || disk.transient; };
  return (harmless(a) && harmless(b)) || (a.shareable && b.shareable);
}

bool clash(const DiskConfig& a, const DiskConfig& b) {
  return !a.file.empty() && normal_path(a.file) == normal_path(b.file) && !may_share(a, b);
}

// The last of `disks` against those before it: one line for each rule, whatever their number.
void check_against_others(std::span<const DiskConfig> disks, Problems& problems) {
  const DiskConfig& last = disks.back();
  const auto others = disks.first(disks.size() - 1);
  if (std::ranges::find(others, last.target, &DiskConfig::target) != others.end())
    problems.add("disk {}: target is used twice", last.target);
  if (last.boot_order &&
      std::ranges::find(others, last.boot_order, &DiskConfig::boot_order) != others.end())
    problems.add("disk {}: boot order {} is used twice", last.target, *last.boot_order);
  const auto other =
      std::ranges::find_if(others, [&](const DiskConfig& disk) { return clash(disk, last); });
  if (other != others.end())
    problems.add("disks {} and {}: '{}' would be written through one and used by the other",
                 other->target, last.target, last.file);
}

bool is_interface_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxInterfaceNameBytes && name != "." && name != ".." &&
         std::ranges::all_of(
             name, [](char c) { return is_printable(c) && c != ' ' && c != '/' && c != ':'; });
}

// Where no guest can be: the firmware's, loopback, link-local, multicast.
bool is_guest_address(const Ipv4Network& network) {
  constexpr Ipv4Network kNever[] = {{ipv4(0, 0, 0, 0), 8},
                                    {ipv4(127, 0, 0, 0), 8},
                                    {ipv4(169, 254, 0, 0), 16},
                                    {ipv4(224, 0, 0, 0), 3}};
  return std::ranges::none_of(
             kNever, [&](const Ipv4Network& one) { return one.contains(network.address); }) &&
         network.address != network.first() && network.address != network.broadcast();
}

void check_published(size_t index, std::span<const PublishedPort> ports, Problems& problems) {
  if (ports.size() > kMaxPublishedPorts)
    problems.add("interface {}: {} published ports, at most {}", index, ports.size(),
                 kMaxPublishedPorts);
  for (size_t i = 0; i < std::min(ports.size(), kMaxPublishedPorts); ++i) {
    const auto same = [&](const PublishedPort& other) {
      return other.host_port != 0 && other.udp == ports[i].udp &&
             other.address == ports[i].address && other.host_port == ports[i].host_port;
    };
    if (ports[i].guest_port == 0) problems.add("interface {}: port 0 of the guest is none", index);
    if (std::ranges::any_of(ports.first(i), same))
      problems.add("interface {}: port {} is published twice", index, describe(ports[i]));
  }
}

void check_user_network(size_t index, const NetworkConfig& network, Problems& problems) {
  const UserNetworkSpec& user = network.user;
  if (user.address.prefix < kMinUserPrefix || user.address.prefix > kMaxUserPrefix)
    problems.add("interface {}: a prefix of {} is not {} to {}", index, user.address.prefix,
                 kMinUserPrefix, kMaxUserPrefix);
  else if (!is_guest_address(user.address))
    problems.add("interface {}: {}/{} is no address of a guest", index,
                 format_ipv4(user.address.address), user.address.prefix);
  if (network.mtu && *network.mtu > kMaxUserMtu)
    problems.add("interface {}: MTU {} is more than {}, a user-mode network's most", index,
                 *network.mtu, kMaxUserMtu);
  if (user.resolvers.size() > kMaxUserResolvers)
    problems.add("interface {}: {} DNS servers, at most {}", index, user.resolvers.size(),
                 kMaxUserResolvers);
  for (const uint32_t resolver : user.resolvers)
    if (Ipv4Network{.address = kIpv4Loopback, .prefix = 8}.contains(resolver) || resolver == 0)
      problems.add(
          "interface {}: DNS server {} is nowhere for a guest; the host's own is told to "
          "it without dns=",
          index, format_ipv4(resolver));
  if (!user.interface.empty() && !is_interface_name(user.interface))
    problems.add("interface {}: '{}' is not an interface name", index, user.interface);
  check_published(index, user.published, problems);
}

void check_network(size_t index, const NetworkConfig& network, Problems& problems) {
  if (network.kind == NetworkKind::kUser) check_user_network(index, network, problems);
  if ((network.mac[0] & 1) != 0)
    problems.add("interface {}: MAC address {} is multicast", index, format_mac(network.mac));
  if (!network.ifname.empty() && !is_interface_name(network.ifname))
    problems.add("interface {}: '{}' is not an interface name (at most {} bytes, no '/' or blank)",
                 index, network.ifname, kMaxInterfaceNameBytes);
  if (!network.managed && network.ifname.empty())
    problems.add("interface {}: an existing tap (managed='no') must be named", index);
  if (network.kind == NetworkKind::kBridge && !is_interface_name(network.bridge))
    problems.add("interface {}: '{}' is not the name of a bridge", index, network.bridge);
  if (network.mtu && *network.mtu < kMinMtu)
    problems.add("interface {}: MTU {} is less than {}", index, *network.mtu, kMinMtu);
}

}  // namespace

void Problems::add_message(std::string message) {
  const auto same = [&](const Problem& known) {
    return known.subject == subject_ && known.index == index_ && known.message == message;
  };
  if (std::ranges::none_of(problems_, same))
    problems_.push_back({.subject = subject_, .index = index_, .message = std::move(message)});
}

void check_path(std::string_view what, std::string_view path, Problems& problems) {
  if (path.empty())
    problems.add("{}: no path given", what);
  else if (path.front() != '/')
    problems.add("{}: '{}' is not an absolute path", what, path.substr(0, 256));
  else if (path.size() > kMaxPathBytes)
    problems.add("{}: longer than {} bytes", what, kMaxPathBytes);
  else if (path.find('\0') != std::string_view::npos)
    problems.add("{}: contains a NUL", what);
}

void check_disks(std::span<const DiskConfig> disks, Problems& problems) {
  for (size_t i = 0; i < disks.size(); ++i) {
    problems.about(Subject::kDisk, i);
    if (const auto target = parse_target_name(disks[i].target); !target)
      problems.add("disk {}: {}", i + 1, target.error().message());
    check_disk_image(disks[i], problems);
    check_disk_device(disks[i], problems);
    check_against_others(disks.first(i + 1), problems);
  }
}

void check_networks(std::span<const NetworkConfig> networks, Problems& problems) {
  for (size_t i = 0; i < networks.size(); ++i) {
    problems.about(Subject::kNetwork, i);
    check_network(i + 1, networks[i], problems);
  }
}

void check_console(const ConsoleConfig& console, Problems& problems) {
  problems.about(Subject::kConsole);
  if (console.kind == ConsoleKind::kFile || console.kind == ConsoleKind::kUnix)
    check_path("console", console.path, problems);
  if (console.kind == ConsoleKind::kUnix && console.path.size() >= sizeof(sockaddr_un::sun_path))
    problems.add("console: socket path is longer than {} bytes", sizeof(sockaddr_un::sun_path) - 1);
  if (!console.log_file.empty()) check_path("console log", console.log_file, problems);
}

void check_rng(const RngConfig& rng, Problems& problems) {
  problems.about(Subject::kRng);
  if (rng.rate_bytes != 0 && rng.rate_period_ms == 0) problems.add("rng: period of 0 ms");
}

std::string virtio_disk_name(size_t index) {
  std::string letters;
  for (size_t rest = index + 1; rest > 0; rest = (rest - 1) / 26)
    letters.insert(letters.begin(), static_cast<char>('a' + (rest - 1) % 26));
  return "vd" + letters;
}

Result<TargetName> parse_target_name(std::string_view target) {
  for (const std::string_view prefix : {"vd", "sd", "hd", "xvd", "fd", "ubd"}) {
    if (!target.starts_with(prefix)) continue;
    const std::string_view letters = target.substr(prefix.size());
    if (letters.empty() || target.size() > kMaxTargetBytes) break;
    unsigned index = 0;
    for (const char c : letters) {
      // Partitions would need an image each; libvirt refuses them too.
      if (c < 'a' || c > 'z' || index > 26 * 26 * 26)
        return fail(ErrorKind::kInvalidConfig, "target '{}' is not a whole disk such as vda",
                    target);
      index = index * 26 + static_cast<unsigned>(c - 'a') + 1;
    }
    return TargetName{.prefix = prefix, .index = index - 1};
  }
  return fail(ErrorKind::kInvalidConfig, "target '{}' is not a name such as vda",
              target.substr(0, 64));
}

}  // namespace hull::config
