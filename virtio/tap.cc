#include "virtio/tap.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <optional>

#include "base/log.h"
#include "virtio/interface.h"

namespace hull::virtio {

namespace {

constexpr int kHeaderBytes = 12;
constexpr int kEthernetMtu = 1500;
constexpr const char* kDevice = "/dev/net/tun";
constexpr const char* kNamePattern = "hull%d";

std::unexpected<Error> device_error(int error) {
  const char* remedy = "";
  if (error == ENOENT || error == ENODEV || error == ENXIO)
    remedy = "; is the tun module loaded? ('modprobe tun')";
  if (error == EACCES || error == EPERM)
    remedy = "; it has to be readable and writable for you: 'chmod 666 /dev/net/tun' as root";
  return fail(ErrorKind::kHost, "open {}: {}{}", kDevice, std::strerror(error), remedy);
}

// Commands for root that make what this user can use.
std::string recipe_for(const std::string& ifname) {
  return fmt::format("'ip tuntap add dev {} mode tap user {}' and 'ip link set dev {} up'", ifname,
                     ::geteuid(), ifname);
}

std::unexpected<Error> attach_error(const std::string& ifname, bool exists, int error) {
  const char* const text = std::strerror(error);
  const bool named = ifname != kNamePattern;
  switch (error) {
    case EPERM:
      if (exists)
        return fail(ErrorKind::kHost,
                    "tap '{}': {}; it is another user's: have root make it yours with "
                    "'ip link delete dev {}', {}",
                    ifname, text, ifname, recipe_for(ifname));
      if (named)
        return fail(
            ErrorKind::kHost,
            "tap '{}': {}; creating one needs CAP_NET_ADMIN: run as root, or have root make "
            "it with {}",
            ifname, text, recipe_for(ifname));
      return fail(ErrorKind::kHost,
                  "new tap: {}; creating one needs CAP_NET_ADMIN: have root make one for you with "
                  "{}, and say ifname=tap0",
                  text, recipe_for("tap0"));
    case EBUSY:
      return fail(ErrorKind::kBusy, "tap '{}': {}; another process uses it", ifname, text);
    case EINVAL:
      return fail(ErrorKind::kInvalidConfig, "tap '{}': {}; the interface is no tap", ifname, text);
    default: return fail(ErrorKind::kHost, "tap '{}': {}", named ? ifname : "new", text);
  }
}

// MTU, port, up. What somebody did beforehand needs no permission.
Result<void> set_up_interface(const Interface& interface, const TapOptions& options, bool exists) {
  bool joins = false;
  if (!options.bridge.empty()) joins = !TRY(interface.is_port_of(options.bridge));
  std::optional<int> mtu = options.mtu;
  if (!mtu && joins) {
    const Interface bridge = TRY(Interface::create(options.bridge));
    mtu = TRY(bridge.mtu());
  }
  if (mtu) TRY(interface.set_mtu(*mtu));
  if (joins) TRY(interface.add_to(options.bridge));
  Result<void> up = interface.set_up();
  if (up || !exists || joins) return up;
  // Whoever made it may set it up later.
  LOG_WARN("{}", up.error().message());
  return {};
}

unsigned tun_flags(NetOffloads offloads) {
  // The kernel refuses segmentation without checksums.
  if (!offloads.checksum) return 0;
  unsigned flags = TUN_F_CSUM;
  if (offloads.tso4) flags |= TUN_F_TSO4;
  if (offloads.tso6) flags |= TUN_F_TSO6;
  if (offloads.ecn && (offloads.tso4 || offloads.tso6)) flags |= TUN_F_TSO_ECN;
  return flags;
}

}  // namespace

Result<std::unique_ptr<Tap>> Tap::open(const TapOptions& options) {
  if (options.ifname.size() >= IFNAMSIZ)
    return fail(ErrorKind::kInvalidConfig, "tap '{}': a name has at most {} bytes", options.ifname,
                IFNAMSIZ - 1);
  const bool exists = !options.ifname.empty() && ::if_nametoindex(options.ifname.c_str()) != 0;
  if (!exists && !options.create)
    return fail(ErrorKind::kHost, "tap '{}' does not exist; root makes it with {}", options.ifname,
                recipe_for(options.ifname));
  UniqueFd fd(::open(kDevice, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return device_error(errno);
  std::unique_ptr<Tap> tap(
      new Tap(std::move(fd), options.ifname.empty() ? kNamePattern : options.ifname));
  TRY(tap->attach(exists));
  if (::ioctl(tap->fd(), TUNSETVNETHDRSZ, &kHeaderBytes) < 0)
    return std::unexpected(Error::from_errno(fmt::format("tap '{}': header size", tap->ifname())));
  tap->probe_offloads();
  const Interface interface = TRY(Interface::create(tap->ifname()));
  if (interface.attached_queues() > 1) return attach_error(tap->ifname(), exists, EBUSY);
  TRY(set_up_interface(interface, options, exists));
  const int mtu = TRY(interface.mtu());
  if (mtu != kEthernetMtu && mtu >= 68 && mtu <= UINT16_MAX) tap->mtu_ = static_cast<uint16_t>(mtu);
  return tap;
}

// One that was made for several queues has to be asked for as such, and works with one; a second
// process could take another one, and would get a part of the frames.
Result<void> Tap::attach(bool exists) {
  for (const int more_flags : {0, IFF_MULTI_QUEUE}) {
    ifreq request{};
    ifname_.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | more_flags);
    if (::ioctl(fd_.get(), TUNSETIFF, &request) == 0) {
      ifname_ = request.ifr_name;
      return {};
    }
    if (errno != EINVAL || !exists) break;
  }
  return attach_error(ifname_, exists, errno);
}

void Tap::probe_offloads() {
  const NetOffloads wishes[] = {
      {.checksum = true, .tso4 = true, .tso6 = true, .ecn = true},
      {.checksum = true, .tso4 = true, .tso6 = true},
      {.checksum = true},
  };
  for (const NetOffloads& wish : wishes) {
    if (!set_offloads(wish)) continue;
    supported_ = wish;
    break;
  }
  // An interface that outlives processes may still have what the last one set.
  [[maybe_unused]] const auto cleared = set_offloads({});
}

Result<void> Tap::set_offloads(NetOffloads offloads) {
  if (::ioctl(fd_.get(), TUNSETOFFLOAD, tun_flags(offloads)) < 0)
    return std::unexpected(Error::from_errno(fmt::format("tap '{}': set offloads", ifname_)));
  return {};
}

}  // namespace hull::virtio
