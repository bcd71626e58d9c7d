// A listening Unix stream socket. One client at a time: another one is turned away while the first
// is there. Without a client output is dropped.
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"
#include "devices/console/console.h"
#include "devices/console/console_backend.h"

namespace hull::devices {

namespace {

constexpr std::chrono::seconds kAcceptRetry{1};

class UnixBackend final : public ConsoleBackend {
 public:
  UnixBackend(EventLoop& loop, ConsoleFrontend& frontend, UniqueFd listener, std::string path)
      : ConsoleBackend(loop, frontend), listener_(std::move(listener)) {
    path_ = std::move(path);
    if (::lstat(path_.c_str(), &created_) < 0) created_ = {};
  }
  ~UnixBackend() override {
    loop_.cancel(timer_);
    loop_.remove(listener_.get());
    struct stat info;
    if (::lstat(path_.c_str(), &info) == 0 && info.st_ino == created_.st_ino &&
        info.st_dev == created_.st_dev)
      ::unlink(path_.c_str());
  }

  Result<void> listen() {
    return loop_.add(listener_.get(), EPOLLIN, [this](uint32_t) { accept_client(); });
  }

 private:
  void accept_client() {
    UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!client.valid()) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
        pause_accepting();
      return;
    }
    if (writer_ && !peer_is_gone()) return;  // turned away
    UniqueFd reading(::fcntl(client.get(), F_DUPFD_CLOEXEC, 0));
    if (!reading.valid()) return;
    start_writer(NonBlockingFd(std::move(client)));
    start_reader(NonBlockingFd(std::move(reading)));
    reader_->resume();
    frontend_.on_output_possible();  // what the last client did not take
  }

  // The connection stays in the backlog, and the listener readable.
  void pause_accepting() {
    LOG_WARN("console: {}", Error::from_errno("accept a connection").message());
    loop_.remove(listener_.get());
    timer_ = loop_.call_after(kAcceptRetry, [this] {
      timer_ = 0;
      if (!listen()) pause_accepting();
    });
  }

  bool peer_is_gone() const {
    pollfd entry{.fd = writer_->fd(), .events = 0, .revents = 0};
    ::poll(&entry, 1, 0);
    return (entry.revents & (POLLHUP | POLLERR)) != 0;
  }

  // A client that only closed its sending side still wants the output.
  void on_input_end() override {
    reader_.reset();
    if (writer_ && peer_is_gone()) on_output_end(EPIPE);
  }
  void on_output_end(int) override {
    reader_.reset();
    writer_.reset();
    frontend_.on_output_possible();  // by dropping it
  }

  const UniqueFd listener_;
  struct stat created_{};  // to unlink our own file only
  uint64_t timer_ = 0;
};

// True if nobody listens there any more, which is what a killed process leaves behind.
Result<bool> is_stale_socket(const sockaddr_un& address) {
  struct stat info;
  if (::lstat(address.sun_path, &info) < 0) return errno == ENOENT;
  if (!S_ISSOCK(info.st_mode)) return fail(ErrorKind::kBusy, "the file exists and is no socket");
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!probe.valid()) return std::unexpected(Error::from_errno("socket"));
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(probe.get(), generic, sizeof address) == 0 || errno == EAGAIN) return false;
  return errno == ECONNREFUSED || errno == ENOENT;
}

Result<UniqueFd> listen_on(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return fail(ErrorKind::kInvalidConfig, "the path must have 1 to {} bytes",
                sizeof address.sun_path - 1);
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  // bind(2) creates the file with the mode of the socket: there is no moment with a wider one.
  if (!fd.valid() || ::fchmod(fd.get(), 0600) < 0)
    return std::unexpected(Error::from_errno("socket"));
  if (::bind(fd.get(), generic, sizeof address) < 0) {
    if (errno != EADDRINUSE) return std::unexpected(Error::from_errno("bind"));
    if (!TRY(is_stale_socket(address))) return fail(ErrorKind::kBusy, "somebody listens there");
    ::unlink(address.sun_path);
    if (::bind(fd.get(), generic, sizeof address) < 0)
      return std::unexpected(Error::from_errno("bind"));
  }
  if (::listen(fd.get(), 1) < 0) return std::unexpected(Error::from_errno("listen"));
  return fd;
}

}  // namespace

Result<std::unique_ptr<ConsoleBackend>> open_unix_backend(EventLoop& loop,
                                                          ConsoleFrontend& frontend,
                                                          const ConsoleOptions& options) {
  UniqueFd listener =
      TRY(listen_on(options.path).with_context(fmt::format("console socket '{}'", options.path)));
  auto backend = std::make_unique<UnixBackend>(loop, frontend, std::move(listener), options.path);
  auto listening = backend->listen();
  if (!listening) return std::unexpected(std::move(listening).error());
  return backend;
}

}  // namespace hull::devices
