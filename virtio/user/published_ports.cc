#include "virtio/user/published_ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "base/unique_fd.h"

namespace hull::virtio {

namespace {

// A socket that listens there, and its port in `port`; not valid with errno set otherwise.
UniqueFd listen_at(PublishedPort& port) {
  UniqueFd socket(::socket(AF_INET, (port.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0));
  if (!socket.valid()) return socket;
  // Connections of an earlier listener that linger are no reason, as they are none to passt.
  const int on = 1;
  if (!port.udp) ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(port.address);
  address.sin_port = htons(port.host_port);
  socklen_t length = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (::bind(socket.get(), generic, sizeof address) < 0 ||
      (!port.udp && ::listen(socket.get(), 1) < 0) ||
      ::getsockname(socket.get(), generic, &length) < 0)
    return UniqueFd();
  port.host_port = ntohs(address.sin_port);
  return socket;
}

std::unexpected<Error> refusal(const PublishedPort& port, int error) {
  const std::string name = describe(port);
  switch (error) {
    case EADDRINUSE:
      return fail(ErrorKind::kBusy, "port {} is taken: 'ss -{}lnp sport = :{}' shows by whom", name,
                  port.udp ? "u" : "t", port.host_port);
    case EACCES:
      return fail(ErrorKind::kHost,
                  "port {} is root's: take one from 1024 on, or have root say 'sysctl "
                  "net.ipv4.ip_unprivileged_port_start={}'",
                  name, port.host_port);
    case EADDRNOTAVAIL:
      return fail(ErrorKind::kHost,
                  "port {}: the host has no such address; 'ip address' lists them", name);
    default: return std::unexpected(Error::of_host("port " + name, error));
  }
}

}  // namespace

Result<void> try_ports(std::span<PublishedPort> ports) {
  std::vector<UniqueFd> held;  // so that no port is chosen twice
  for (PublishedPort& port : ports) {
    held.push_back(listen_at(port));
    if (!held.back().valid()) return refusal(port, errno);
  }
  return {};
}

Result<void> check_taken(std::span<const PublishedPort> ports) {
  for (PublishedPort port : ports)
    if (listen_at(port).valid())
      return fail(ErrorKind::kHost, "port {} was taken meanwhile by somebody else", describe(port));
  return {};
}

}  // namespace hull::virtio
