// Addresses of stream sockets, for server and client. Names are not resolved: a statically linked
// program cannot do it as the host is configured to.
#pragma once

#include <sys/socket.h>

#include <string>

#include "base/unique_fd.h"

namespace hull::blockcore::nbd {

class SocketAddress {
 public:
  static Result<SocketAddress> unix_path(const std::string& path);
  // `host` is a numeric IPv4 or IPv6 address or "localhost".
  static Result<SocketAddress> tcp(const std::string& host, uint16_t port);

  int family() const { return storage_.ss_family; }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const { return size_; }
  bool is_loopback() const;

  // A stream socket of the family; `flags` is SOCK_NONBLOCK or 0.
  Result<UniqueFd> make_socket(int flags) const;

 private:
  SocketAddress() = default;
  sockaddr_storage storage_{};
  socklen_t size_ = 0;
};

}  // namespace hull::blockcore::nbd
