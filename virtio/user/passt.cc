#include "virtio/user/passt.h"

#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/check.h"

namespace hull::virtio {

namespace {

constexpr int kSocketNumber = 3;  // in the new process, after the standard three
// passt never asks for more itself, and sends its guest little while it has less.
constexpr int kSendBufferBytes = 4 << 20;

// What it says without a reason to worry.
constexpr std::string_view kChatter[] = {
    "Don't run as root",
    "Failed to send ",
    "No interfaces with usable IPv6",
    "Couldn't get any",
};

struct Pair {
  UniqueFd ours;
  UniqueFd theirs;
};

Result<Pair> make_socket_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
    return std::unexpected(Error::of_host("a socket pair"));
  Pair pair{UniqueFd(fds[0]), UniqueFd(fds[1])};
  // Root may have more than net.core.wmem_max.
  for (const int option : {SO_SNDBUFFORCE, SO_SNDBUF})
    if (::setsockopt(pair.theirs.get(), SOL_SOCKET, option, &kSendBufferBytes,
                     sizeof kSendBufferBytes) == 0)
      break;
  return pair;
}

Result<Pair> make_pipe() {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC) < 0) return std::unexpected(Error::of_host("a pipe"));
  Pair pair{UniqueFd(fds[0]), UniqueFd(fds[1])};
  // passt waits for nobody who does not read, and neither do we.
  for (const int fd : fds)
    if (::fcntl(fd, F_SETFL, O_NONBLOCK) < 0) return std::unexpected(Error::of_host("a pipe"));
  return pair;
}

// posix_spawn(3) with everything of ours kept from the new process.
class Spawner {
 public:
  Spawner() {
    CHECK(::posix_spawn_file_actions_init(&actions_) == 0 && ::posix_spawnattr_init(&attr_) == 0);
  }
  ~Spawner() {
    ::posix_spawn_file_actions_destroy(&actions_);
    ::posix_spawnattr_destroy(&attr_);
  }
  Spawner(const Spawner&) = delete;
  Spawner& operator=(const Spawner&) = delete;

  // 0 or errno.
  int run(pid_t& pid, int socket, int messages, char* const* arguments) {
    sigset_t none;
    sigset_t all;
    ::sigemptyset(&none);
    ::sigfillset(&all);
    // A session of its own: Ctrl-C at the terminal is the guest's or ours to answer.
    int error = ::posix_spawnattr_setflags(
        &attr_, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    const auto add = [&error](int result) { error = error != 0 ? error : result; };
    add(::posix_spawnattr_setsigmask(&attr_, &none));
    add(::posix_spawnattr_setsigdefault(&attr_, &all));
    add(::posix_spawn_file_actions_addopen(&actions_, 0, "/dev/null", O_RDONLY, 0));
    add(::posix_spawn_file_actions_addopen(&actions_, 1, "/dev/null", O_WRONLY, 0));
    add(::posix_spawn_file_actions_adddup2(&actions_, messages, 2));
    add(::posix_spawn_file_actions_adddup2(&actions_, socket, kSocketNumber));
    add(::posix_spawn_file_actions_addclosefrom_np(&actions_, kSocketNumber + 1));
    return error != 0 ? error
                      : ::posix_spawnp(&pid, arguments[0], &actions_, &attr_, arguments, environ);
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attr_;
};

// One that is above those that the new process is to have: nothing is overwritten before it is
// used.
Result<UniqueFd> moved_up(UniqueFd fd) {
  UniqueFd high(::fcntl(fd.get(), F_DUPFD_CLOEXEC, kSocketNumber + 1));
  if (!high.valid()) return std::unexpected(Error::of_host("a descriptor for passt"));
  return high;
}

}  // namespace

Result<Passt> Passt::start(const std::vector<std::string>& arguments) {
  Pair socket = TRY(make_socket_pair());
  Pair messages = TRY(make_pipe());
  const UniqueFd their_socket = TRY(moved_up(std::move(socket.theirs)));
  const UniqueFd their_messages = TRY(moved_up(std::move(messages.theirs)));
  std::vector<std::string> words = {"passt",    "--foreground", "--quiet",
                                    "--stderr", "--fd",         std::to_string(kSocketNumber)};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> pointers;
  pointers.reserve(words.size() + 1);
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_t pid = -1;
  const int error = Spawner().run(pid, their_socket.get(), their_messages.get(), pointers.data());
  if (error == ENOENT)
    return fail(ErrorKind::kHost,
                "passt, which carries a user-mode network, is not installed: 'apt install passt'; "
                "--net tap and --net none do without");
  if (error != 0) return std::unexpected(Error::of_host("start passt", error));
  Passt passt;
  passt.socket_ = std::move(socket.ours);
  passt.messages_ = std::move(messages.ours);
  passt.process_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!passt.process_.valid()) {
    Error refused = Error::of_host("watch passt");
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return std::unexpected(std::move(refused));
  }
  return passt;
}

Passt::Passt(Passt&& other) noexcept = default;

// It has nothing that it would have to put in order.
Passt::~Passt() {
  if (!process_.valid()) return;
  ::syscall(SYS_pidfd_send_signal, process_.get(), SIGKILL, nullptr, 0);
  siginfo_t ended{};
  while (::waitid(P_PIDFD, static_cast<id_t>(process_.get()), &ended, WEXITED) < 0 &&
         errno == EINTR) {
  }
}

std::string Passt::last_words() {
  std::array<char, 4096> part;
  // A writer that never stops is not read to its end.
  for (int i = 0; i < 16; ++i) {
    const ssize_t got = ::read(messages_.get(), part.data(), part.size());
    if (got <= 0) break;
    words_.append(part.data(), static_cast<size_t>(got));
    if (words_.size() > 2 * part.size()) words_.erase(0, words_.size() - part.size());
  }
  std::string last;
  for (size_t begin = 0; begin < words_.size();) {
    const size_t end = std::min(words_.find('\n', begin), words_.size());
    const std::string_view line = std::string_view(words_).substr(begin, end - begin);
    bool chatter = line.empty();
    for (const std::string_view known : kChatter) chatter = chatter || line.starts_with(known);
    if (!chatter) last = line.substr(0, kMaxWordsBytes);
    begin = end + 1;
  }
  return last;
}

}  // namespace hull::virtio
