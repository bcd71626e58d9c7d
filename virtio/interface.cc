#include "virtio/interface.h"

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

// After net/if.h, whose constants linux/if.h would define again.
#include <linux/ethtool.h>
#include <linux/sockios.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace hull::virtio {

namespace {

// linux/if_bridge.h, which does not go together with the C library's headers.
constexpr unsigned long kGetPortList = 7;
constexpr size_t kMaxBridgePorts = 1024;

ifreq request_for(const std::string& name) {
  ifreq request{};
  name.copy(request.ifr_name, IFNAMSIZ - 1);
  return request;
}

}  // namespace

Result<Interface> Interface::create(std::string name) {
  UniqueFd control(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control.valid()) control.reset(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!control.valid()) return std::unexpected(Error::from_errno("socket"));
  return Interface(std::move(name), std::move(control));
}

std::unexpected<Error> Interface::failure(std::string_view what, int error,
                                          const std::string& command) const {
  const std::string remedy =
      error == EPERM
          ? fmt::format("; this needs CAP_NET_ADMIN: run as root, or '{}' beforehand", command)
          : "";
  return fail(ErrorKind::kHost, "interface '{}': {}: {}{}", name_, what, std::strerror(error),
              remedy);
}

Result<int> Interface::mtu() const {
  ifreq request = request_for(name_);
  if (::ioctl(control_.get(), SIOCGIFMTU, &request) < 0)
    return std::unexpected(Error::from_errno(fmt::format("interface '{}': read MTU", name_)));
  return request.ifr_mtu;
}

Result<void> Interface::set_mtu(int mtu) const {
  if (TRY(this->mtu()) == mtu) return {};
  ifreq request = request_for(name_);
  request.ifr_mtu = mtu;
  if (::ioctl(control_.get(), SIOCSIFMTU, &request) == 0) return {};
  return failure(fmt::format("set MTU {}", mtu), errno,
                 fmt::format("ip link set dev {} mtu {}", name_, mtu));
}

Result<void> Interface::set_up() const {
  ifreq request = request_for(name_);
  if (::ioctl(control_.get(), SIOCGIFFLAGS, &request) < 0)
    return std::unexpected(Error::from_errno(fmt::format("interface '{}': read flags", name_)));
  if ((request.ifr_flags & IFF_UP) != 0) return {};
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  if (::ioctl(control_.get(), SIOCSIFFLAGS, &request) == 0) return {};
  return failure("set up", errno, fmt::format("ip link set dev {} up", name_));
}

// Not from /sys, which may show another network namespace than ours.
Result<bool> Interface::is_port_of(const std::string& bridge) const {
  if (::if_nametoindex(bridge.c_str()) == 0)
    return fail(
        ErrorKind::kHost,
        "there is no bridge '{}'; root makes one with 'ip link add name {} type bridge' and "
        "'ip link set dev {} up'",
        bridge, bridge, bridge);
  std::array<int, kMaxBridgePorts> ports{};
  unsigned long arguments[4] = {kGetPortList, reinterpret_cast<unsigned long>(ports.data()),
                                ports.size(), 0};
  ifreq request = request_for(bridge);
  request.ifr_data = reinterpret_cast<char*>(arguments);
  if (::ioctl(control_.get(), SIOCDEVPRIVATE, &request) < 0) {
    if (errno == EOPNOTSUPP) return fail(ErrorKind::kHost, "interface '{}' is no bridge", bridge);
    return std::unexpected(Error::from_errno(fmt::format("read the ports of bridge '{}'", bridge)));
  }
  const auto index = static_cast<int>(::if_nametoindex(name_.c_str()));
  return index != 0 && std::ranges::find(ports, index) != ports.end();
}

Result<void> Interface::add_to(const std::string& bridge) const {
  ifreq request = request_for(bridge);
  request.ifr_ifindex = static_cast<int>(::if_nametoindex(name_.c_str()));
  if (::ioctl(control_.get(), SIOCBRADDIF, &request) == 0) return {};
  if (errno == EBUSY)
    return fail(ErrorKind::kBusy,
                "interface '{}' is a port of another bridge than '{}'; root takes it out with "
                "'ip link set dev {} nomaster'",
                name_, bridge, name_);
  return failure(fmt::format("make it a port of bridge '{}'", bridge), errno,
                 fmt::format("ip link set dev {} master {}", name_, bridge));
}

unsigned Interface::attached_queues() const {
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq request = request_for(name_);
  request.ifr_data = reinterpret_cast<char*>(&channels);
  return ::ioctl(control_.get(), SIOCETHTOOL, &request) == 0 ? channels.combined_count : 1;
}

}  // namespace hull::virtio
