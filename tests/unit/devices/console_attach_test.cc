// Back ends that people attach to: the user's terminal, a pty, a socket.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <thread>

#include "devices/console/console.h"
#include "tests/support/console_fixture.h"
#include "tests/support/pseudo_terminal.h"

namespace hull::devices {
namespace {

using hull::testing::PseudoTerminal;

class ConsoleAttachTest : public hull::testing::ConsoleFixture {
 protected:
  static std::string read_now(const UniqueFd& fd) {
    std::array<char, 65536> buffer;
    pollfd entry{.fd = fd.get(), .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, 0) <= 0) return "";
    const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
    return got > 0 ? std::string(buffer.data(), static_cast<size_t>(got)) : "";
  }
  bool receives(const UniqueFd& fd, const std::string& expected) {
    std::string text;
    return run_until([&] { return (text += read_now(fd)) == expected; });
  }
  bool guest_receives(const std::string& expected) {
    std::string text;
    return run_until([&] { return (text += guest_reads()) == expected; });
  }
  static void write_to(const UniqueFd& fd, std::string_view text) {
    ASSERT_EQ(::write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }
  bool drained() {
    return run_until([&] { return serial_->waiting_output_bytes() == 0; });
  }

  void open_unix() { open({.kind = ConsoleKind::kUnix, .path = path("socket")}); }
  UniqueFd connect() {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path("socket").c_str(), sizeof address.sun_path - 1);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
      fd.reset();
    return fd;
  }
};

TEST_F(ConsoleAttachTest, TerminalIsRawWhileConsoleLives) {
  PseudoTerminal pty;
  open({.kind = ConsoleKind::kStdio,
        .input_fd = pty.terminal.get(),
        .output_fd = pty.terminal.get()});
  EXPECT_FALSE(pty.is_cooked());
  console_.reset();
  EXPECT_TRUE(pty.is_cooked());
}

TEST_F(ConsoleAttachTest, TerminalCarriesBothDirections) {
  PseudoTerminal pty;
  open({.kind = ConsoleKind::kStdio,
        .input_fd = pty.terminal.get(),
        .output_fd = pty.terminal.get()});
  guest_writes("login: ");
  EXPECT_TRUE(receives(pty.user, "login: "));
  write_to(pty.user, "\x03");  // Ctrl-C belongs to the guest
  EXPECT_TRUE(guest_receives("\x03"));
  EXPECT_EQ(::fcntl(pty.terminal.get(), F_GETFL) & O_NONBLOCK, 0);
}

TEST_F(ConsoleAttachTest, EscapeKeyAsksForTheEnd) {
  PseudoTerminal pty;
  open({.kind = ConsoleKind::kStdio,
        .input_fd = pty.terminal.get(),
        .output_fd = pty.terminal.get()});
  write_to(pty.user, "ab\x1d");
  EXPECT_TRUE(guest_receives("ab"));
  EXPECT_TRUE(run_until([&] { return escapes_ == 1; }));
}

TEST_F(ConsoleAttachTest, TerminalThatGoesAwayDoesNotSpin) {
  auto pty = std::make_unique<PseudoTerminal>();
  open({.kind = ConsoleKind::kStdio,
        .input_fd = pty->terminal.get(),
        .output_fd = pty->terminal.get()});
  pty.reset();
  guest_writes("x");
  EXPECT_TRUE(drained());
  EXPECT_LT(idle_cost(), std::chrono::milliseconds(150));
}

TEST_F(ConsoleAttachTest, PtyWithoutReaderDropsAndDoesNotSpin) {
  open({.kind = ConsoleKind::kPty, .log_file = path("log")});
  const std::string text(20000, 'x');
  guest_writes(text);
  EXPECT_TRUE(drained());
  EXPECT_EQ(content(path("log")), text);
  EXPECT_LT(idle_cost(), std::chrono::milliseconds(150));
}

TEST_F(ConsoleAttachTest, PtyCanBeAttachedLeftAndAttachedAgain) {
  open({.kind = ConsoleKind::kPty});
  for (int round = 0; round < 2; ++round) {
    const UniqueFd user = std::move(*open_file(console_->path(), O_RDWR | O_NOCTTY));
    std::string seen;
    EXPECT_TRUE(run_until([&] {
      guest_writes(".");
      return !(seen += read_now(user)).empty();
    }));
    write_to(user, "hi\r");
    EXPECT_TRUE(guest_receives("hi\r"));
  }
  guest_writes("nobody");
  EXPECT_TRUE(drained());
}

TEST_F(ConsoleAttachTest, PtyLeftWhileFullFreesGuest) {
  open({.kind = ConsoleKind::kPty});
  UniqueFd user = std::move(*open_file(console_->path(), O_RDWR | O_NOCTTY));
  ASSERT_TRUE(run_until([&] {
    guest_writes(std::string(1000, 'x'));
    return !guest_may_write();
  }));
  user.reset();
  EXPECT_TRUE(drained());
  EXPECT_LT(idle_cost(), std::chrono::milliseconds(150));
}

TEST_F(ConsoleAttachTest, PtyReaderGetsLastBytesAtExit) {
  open({.kind = ConsoleKind::kPty});
  const UniqueFd user = std::move(*open_file(console_->path(), O_RDWR | O_NOCTTY));
  ASSERT_TRUE(run_until([&] {
    guest_writes(".");
    return !read_now(user).empty();
  }));
  ASSERT_TRUE(drained());
  while (!read_now(user).empty()) {
  }
  guest_writes("Power down");
  // Reads late; closing the pty before would destroy what it has not read.
  std::string last;
  std::thread reader([&] {
    ::poll(nullptr, 0, 20);
    last = read_now(user);
  });
  flush();
  console_.reset();
  reader.join();
  EXPECT_EQ(last, "Power down");
}

TEST_F(ConsoleAttachTest, SocketIsPrivateAndGoneAtTheEnd) {
  open_unix();
  struct stat info;
  ASSERT_EQ(::stat(console_->path().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  console_.reset();
  EXPECT_FALSE(std::filesystem::exists(path("socket")));
}

TEST_F(ConsoleAttachTest, SocketClientCanLeaveAndComeBack) {
  open_unix();
  guest_writes("before");
  ASSERT_TRUE(drained());
  for (int round = 0; round < 3; ++round) {
    const UniqueFd client = connect();
    ASSERT_TRUE(client.valid());
    write_to(client, "in");
    EXPECT_TRUE(guest_receives("in"));
    guest_writes("out");
    EXPECT_TRUE(receives(client, "out"));
  }
  guest_writes("after");
  EXPECT_TRUE(drained());
  EXPECT_LT(idle_cost(), std::chrono::milliseconds(150));
}

TEST_F(ConsoleAttachTest, SecondSocketClientIsTurnedAway) {
  open_unix();
  const UniqueFd first = connect();
  write_to(first, "1");
  ASSERT_TRUE(guest_receives("1"));
  const UniqueFd second = connect();
  char byte;
  ssize_t got = -1;
  EXPECT_TRUE(run_until([&] { return (got = ::recv(second.get(), &byte, 1, MSG_DONTWAIT)) == 0; }));
  guest_writes("still here");
  EXPECT_TRUE(receives(first, "still here"));
}

TEST_F(ConsoleAttachTest, SocketClientThatOnlyListensIsServedAndReplaced) {
  open_unix();
  UniqueFd first = connect();
  write_to(first, "x");
  ASSERT_EQ(::shutdown(first.get(), SHUT_WR), 0);
  ASSERT_TRUE(guest_receives("x"));
  guest_writes("answer");
  EXPECT_TRUE(receives(first, "answer"));
  first.reset();
  const UniqueFd second = connect();
  write_to(second, "y");
  EXPECT_TRUE(guest_receives("y"));
}

TEST_F(ConsoleAttachTest, SlowSocketClientSlowsGuestUntilItLeaves) {
  open_unix();
  UniqueFd client = connect();
  write_to(client, "x");
  ASSERT_TRUE(guest_receives("x"));
  ASSERT_TRUE(run_until([&] {
    guest_writes(std::string(4096, 'x'));
    return !guest_may_write();
  }));
  client.reset();
  EXPECT_TRUE(drained());
}

TEST_F(ConsoleAttachTest, StaleSocketIsReplacedLiveOneIsNot) {
  open_unix();
  const ConsoleOptions same{.kind = ConsoleKind::kUnix, .path = path("socket")};
  auto refused = Console::create(loop_, same, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind(), ErrorKind::kBusy);

  // What a killed process leaves: the file without a listener.
  std::filesystem::rename(path("socket"), path("stale"));
  console_.reset();
  std::filesystem::rename(path("stale"), path("socket"));
  open_unix();
  EXPECT_TRUE(connect().valid());
}

TEST_F(ConsoleAttachTest, SocketOverOrdinaryFileIsRefused) {
  std::ofstream(path("socket")) << "precious";
  const ConsoleOptions options{.kind = ConsoleKind::kUnix, .path = path("socket")};
  EXPECT_FALSE(Console::create(loop_, options, {}));
  EXPECT_EQ(content(path("socket")), "precious");
}

TEST_F(ConsoleAttachTest, SocketPathThatIsTooLongIsRefused) {
  const ConsoleOptions options{.kind = ConsoleKind::kUnix, .path = path(std::string(120, 'x'))};
  auto refused = Console::create(loop_, options, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind(), ErrorKind::kInvalidConfig);
}

}  // namespace
}  // namespace hull::devices
