#include "blockcore/nbd/socket_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstring>

namespace hull::blockcore::nbd {

Result<SocketAddress> SocketAddress::unix_path(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path ||
      path.find('\0') != std::string::npos)
    return fail(ErrorKind::kInvalidConfig, "'{}': the path of a socket has 1 to {} bytes", path,
                sizeof address.sun_path - 1);
  std::memcpy(address.sun_path, path.data(), path.size());
  SocketAddress result;
  std::memcpy(&result.storage_, &address, sizeof address);
  result.size_ = sizeof address;
  return result;
}

Result<SocketAddress> SocketAddress::tcp(const std::string& host, uint16_t port) {
  const std::string& numeric = host == "localhost" ? "127.0.0.1" : host;
  SocketAddress result;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (::inet_pton(AF_INET, numeric.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    std::memcpy(&result.storage_, &v4, sizeof v4);
    result.size_ = sizeof v4;
  } else if (::inet_pton(AF_INET6, numeric.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    std::memcpy(&result.storage_, &v6, sizeof v6);
    result.size_ = sizeof v6;
  } else {
    return fail(ErrorKind::kInvalidConfig,
                "'{}': hull looks up no names: give a numeric address, or localhost", host);
  }
  return result;
}

bool SocketAddress::is_loopback() const {
  if (family() == AF_INET) {
    sockaddr_in v4;
    std::memcpy(&v4, &storage_, sizeof v4);
    return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
  }
  if (family() != AF_INET6) return true;
  sockaddr_in6 v6;
  std::memcpy(&v6, &storage_, sizeof v6);
  return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

Result<UniqueFd> SocketAddress::make_socket(int flags) const {
  UniqueFd socket(::socket(family(), SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (!socket.valid()) return std::unexpected(Error::from_errno("socket"));
  return socket;
}

}  // namespace hull::blockcore::nbd
