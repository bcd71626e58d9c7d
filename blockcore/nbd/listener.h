// Listening sockets for the NBD server: a unix socket in the file system, or a TCP port.
#pragma once

#include <sys/stat.h>

#include <string>

#include "base/unique_fd.h"
#include "blockcore/nbd/socket_address.h"

namespace hull::blockcore::nbd {

// A unix socket of mode 0600. One that an earlier server left behind is replaced; a socket on which
// somebody answers is kBusy, and any other file of that name an error. The name is removed when
// this is destroyed, if it is still the one that was made here.
class UnixListener {
 public:
  static Result<UnixListener> create(const std::string& path);
  UnixListener(UnixListener&& other) noexcept
      : path_(std::exchange(other.path_, {})),
        socket_(std::move(other.socket_)),
        device_(other.device_),
        inode_(other.inode_) {}
  UnixListener& operator=(UnixListener&&) = delete;
  ~UnixListener();

  UniqueFd take_socket() { return std::move(socket_); }  // non-blocking

 private:
  UnixListener(std::string path, UniqueFd socket, dev_t device, ino_t inode)
      : path_(std::move(path)), socket_(std::move(socket)), device_(device), inode_(inode) {}

  std::string path_;
  UniqueFd socket_;
  dev_t device_;
  ino_t inode_;
};

struct TcpListener {
  UniqueFd socket;  // non-blocking
  uint16_t port;
};

// Port 0: the kernel chooses.
Result<TcpListener> listen_tcp(const SocketAddress& address);

// Whether whoever started this process has given it sockets to listen on ($LISTEN_PID and
// $LISTEN_FDS of systemd's protocol, as nbdcopy and libnbd speak it, too).
bool has_activated_socket();
// The one socket, listening and non-blocking, which nobody else gets: the variables are gone then.
Result<UniqueFd> take_activated_socket();

}  // namespace hull::blockcore::nbd
