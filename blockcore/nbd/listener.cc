#include "blockcore/nbd/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace hull::blockcore::nbd {

namespace {

constexpr int kBacklog = 64;
constexpr mode_t kSocketMode = 0600;

std::unexpected<Error> path_error(const std::string& path, std::string_view what) {
  return std::unexpected(Error::from_errno(fmt::format("{} '{}'", what, path)));
}

// Makes room for a socket of that name: nothing there, or one on which nobody listens any more.
Result<void> remove_stale_socket(const std::string& path, const SocketAddress& address) {
  struct stat status;
  if (::lstat(path.c_str(), &status) < 0) {
    if (errno == ENOENT) return {};
    return path_error(path, "look at");
  }
  if (!S_ISSOCK(status.st_mode))
    return fail(ErrorKind::kInvalidConfig, "'{}' exists and is no socket", path);
  const UniqueFd probe = TRY(address.make_socket(SOCK_NONBLOCK));
  const bool answered = ::connect(probe.get(), address.get(), address.size()) == 0;
  if (answered || errno == EAGAIN)
    return fail(ErrorKind::kBusy, "'{}': another program listens there", path);
  if (errno != ECONNREFUSED) return path_error(path, "connect to");
  if (::unlink(path.c_str()) < 0) return path_error(path, "remove");
  return {};
}

}  // namespace

Result<UnixListener> UnixListener::create(const std::string& path) {
  const SocketAddress address = TRY(SocketAddress::unix_path(path));
  if (auto ready = remove_stale_socket(path, address); !ready)
    return std::unexpected(std::move(ready).error());
  UniqueFd socket = TRY(address.make_socket(SOCK_NONBLOCK));
  // bind() gives the file the mode of the socket, less the umask: at no time is it open to others.
  if (::fchmod(socket.get(), kSocketMode) < 0) return path_error(path, "set the mode of");
  if (::bind(socket.get(), address.get(), address.size()) < 0) return path_error(path, "bind");
  struct stat status;
  if (::lstat(path.c_str(), &status) < 0) return path_error(path, "look at");
  UnixListener listener(path, std::move(socket), status.st_dev, status.st_ino);
  if (::listen(listener.socket_.get(), kBacklog) < 0) return path_error(path, "listen on");
  return listener;
}

UnixListener::~UnixListener() {
  struct stat status;
  if (path_.empty() || ::lstat(path_.c_str(), &status) < 0) return;
  if (status.st_dev == device_ && status.st_ino == inode_) ::unlink(path_.c_str());
}

namespace {

constexpr int kFirstActivated = 3;

std::optional<int> number_of(const char* name) {
  const char* const text = std::getenv(name);
  if (text == nullptr) return std::nullopt;
  int number = 0;
  const char* const end = text + std::strlen(text);
  const auto [rest, error] = std::from_chars(text, end, number);
  if (error != std::errc() || rest != end) return std::nullopt;
  return number;
}

}  // namespace

bool has_activated_socket() {
  return number_of("LISTEN_PID") == ::getpid() && number_of("LISTEN_FDS").has_value();
}

Result<UniqueFd> take_activated_socket() {
  const int count = number_of("LISTEN_FDS").value_or(0);
  for (const char* const name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  if (count != 1)
    return fail(ErrorKind::kInvalidConfig, "LISTEN_FDS: {} sockets were handed over, not one",
                count);
  UniqueFd socket(kFirstActivated);
  int listens = 0;
  socklen_t size = sizeof listens;
  if (::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || listens == 0)
    return fail(ErrorKind::kInvalidConfig,
                "LISTEN_FDS: descriptor {} is no socket that somebody listens on", kFirstActivated);
  const int flags = ::fcntl(socket.get(), F_GETFL);
  if (flags < 0 || ::fcntl(socket.get(), F_SETFL, flags | O_NONBLOCK) < 0 ||
      ::fcntl(socket.get(), F_SETFD, FD_CLOEXEC) < 0)
    return std::unexpected(Error::from_errno("LISTEN_FDS: fcntl"));
  return socket;
}

Result<TcpListener> listen_tcp(const SocketAddress& address) {
  UniqueFd socket = TRY(address.make_socket(SOCK_NONBLOCK));
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), address.get(), address.size()) < 0)
    return std::unexpected(Error::from_errno("bind the TCP port"));
  if (::listen(socket.get(), kBacklog) < 0) return std::unexpected(Error::from_errno("listen"));
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound), &size) < 0)
    return std::unexpected(Error::from_errno("getsockname"));
  // The port stands at the same place in both families.
  sockaddr_in v4;
  std::memcpy(&v4, &bound, sizeof v4);
  return TcpListener{std::move(socket), ntohs(v4.sin_port)};
}

}  // namespace hull::blockcore::nbd
