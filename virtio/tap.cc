#include "virtio/tap.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

// After net/if.h, whose constants linux/if.h would define again.
#include <linux/sockios.h>

#include <cerrno>
#include <climits>
#include <cstring>

namespace hull::virtio {

namespace {

constexpr int kHeaderBytes = 12;
constexpr const char* kDevice = "/dev/net/tun";
constexpr const char* kNamePattern = "hull%d";

ifreq request_for(const std::string& ifname) {
  ifreq request{};
  ifname.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

std::unexpected<Error> device_error(int error) {
  const char* remedy = "is the tun module loaded? (modprobe tun)";
  if (error == EACCES || error == EPERM)
    remedy = "it has to be readable and writable for you ('hull doctor' says whether it is)";
  return fail(ErrorKind::kHost, "open {}: {}; {}", kDevice, std::strerror(error), remedy);
}

// `asked` is empty where the kernel was to choose a name.
std::unexpected<Error> attach_error(const std::string& asked, int error) {
  const char* const text = std::strerror(error);
  const std::string ifname = asked.empty() ? kNamePattern : asked;
  const std::string example = asked.empty() ? "tap0" : asked;
  switch (error) {
    case EPERM:
      return fail(ErrorKind::kHost,
                  "tap '{}': {}; creating one needs CAP_NET_ADMIN: have root make it for you with "
                  "'ip tuntap add dev {} mode tap user {}' and say ifname={}",
                  ifname, text, example, ::geteuid(), example);
    case EBUSY:
      return fail(ErrorKind::kBusy, "tap '{}': {}; another process uses it", ifname, text);
    case EINVAL:
      return fail(ErrorKind::kInvalidConfig, "tap '{}': {}; the interface is no tap", ifname, text);
    default: return fail(ErrorKind::kHost, "tap '{}': {}", ifname, text);
  }
}

// Any socket serves for the ioctls on interfaces.
Result<UniqueFd> control_socket() {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) fd.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return std::unexpected(Error::from_errno("socket"));
  return fd;
}

Result<void> set_mtu(int control, const std::string& ifname, uint16_t mtu) {
  ifreq request = request_for(ifname);
  request.ifr_mtu = mtu;
  if (::ioctl(control, SIOCSIFMTU, &request) < 0)
    return std::unexpected(Error::from_errno(fmt::format("tap '{}': set MTU {}", ifname, mtu)));
  return {};
}

Result<void> set_up(int control, const std::string& ifname) {
  ifreq request = request_for(ifname);
  if (::ioctl(control, SIOCGIFFLAGS, &request) < 0)
    return std::unexpected(Error::from_errno(fmt::format("tap '{}': read flags", ifname)));
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(control, SIOCSIFFLAGS, &request) < 0)
    return std::unexpected(Error::from_errno(fmt::format("tap '{}': set up", ifname)));
  return {};
}

bool is_port_of(const std::string& ifname, const std::string& bridge) {
  char target[PATH_MAX];
  const std::string link = fmt::format("/sys/class/net/{}/master", ifname);
  const ssize_t length = ::readlink(link.c_str(), target, sizeof target);
  if (length <= 0) return false;
  const std::string_view path(target, static_cast<size_t>(length));
  return path.substr(path.rfind('/') + 1) == bridge;
}

Result<void> add_to_bridge(int control, const std::string& ifname, const std::string& bridge) {
  ifreq request = request_for(bridge);
  request.ifr_ifindex = static_cast<int>(::if_nametoindex(ifname.c_str()));
  if (::ioctl(control, SIOCBRADDIF, &request) == 0) return {};
  const int error = errno;
  if (error == EBUSY && is_port_of(ifname, bridge)) return {};
  const char* remedy = "";
  if (error == ENODEV) remedy = "; there is no such bridge ('ip link add NAME type bridge')";
  if (error == EOPNOTSUPP) remedy = "; that interface is no bridge";
  if (error == EPERM) remedy = "; this needs CAP_NET_ADMIN";
  if (error == EBUSY) remedy = "; it is a port of another one";
  return fail(error == EBUSY ? ErrorKind::kBusy : ErrorKind::kHost,
              "add tap '{}' to bridge '{}': {}{}", ifname, bridge, std::strerror(error), remedy);
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
    return fail(ErrorKind::kHost,
                "tap '{}' does not exist; make it with 'ip tuntap add dev {} mode tap'",
                options.ifname, options.ifname);
  UniqueFd fd(::open(kDevice, O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) return device_error(errno);

  ifreq request = request_for(options.ifname.empty() ? kNamePattern : options.ifname);
  request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
  if (::ioctl(fd.get(), TUNSETIFF, &request) < 0) return attach_error(options.ifname, errno);
  std::unique_ptr<Tap> tap(new Tap(std::move(fd), request.ifr_name));
  if (::ioctl(tap->fd(), TUNSETVNETHDRSZ, &kHeaderBytes) < 0)
    return std::unexpected(Error::from_errno(fmt::format("tap '{}': header size", tap->ifname())));
  tap->probe_offloads();

  const UniqueFd control = TRY(control_socket());
  if (!exists) {
    if (options.mtu) {
      if (auto set = set_mtu(control.get(), tap->ifname(), *options.mtu); !set)
        return std::unexpected(std::move(set).error());
    }
    if (auto up = set_up(control.get(), tap->ifname()); !up)
      return std::unexpected(std::move(up).error());
  }
  if (!options.bridge.empty()) {
    if (auto added = add_to_bridge(control.get(), tap->ifname(), options.bridge); !added)
      return std::unexpected(std::move(added).error());
  }
  return tap;
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
