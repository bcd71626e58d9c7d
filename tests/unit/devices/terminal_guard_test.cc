#include "devices/console/terminal_guard.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/check.h"
#include "tests/support/pseudo_terminal.h"

namespace hull::devices {
namespace {

using hull::testing::PseudoTerminal;

TEST(TerminalGuard, LifeOfGuardIsRawAndEndRestores) {
  PseudoTerminal pty;
  ASSERT_TRUE(pty.is_cooked());
  {
    auto guard = TerminalGuard::make_raw(pty.terminal.get());
    ASSERT_TRUE(guard);
    EXPECT_FALSE(pty.is_cooked());
  }
  EXPECT_TRUE(pty.is_cooked());
}

TEST(TerminalGuard, OutputProcessingStaysOn) {
  PseudoTerminal pty;
  auto guard = TerminalGuard::make_raw(pty.terminal.get());
  ASSERT_TRUE(guard);
  termios settings;
  ASSERT_EQ(::tcgetattr(pty.terminal.get(), &settings), 0);
  EXPECT_NE(settings.c_oflag & OPOST, 0u);
}

TEST(TerminalGuard, SecondGuardAfterFirstWorks) {
  PseudoTerminal pty;
  {
    auto first = TerminalGuard::make_raw(pty.terminal.get());
  }
  auto second = TerminalGuard::make_raw(pty.terminal.get());
  ASSERT_TRUE(second);
  EXPECT_FALSE(pty.is_cooked());
  TerminalGuard::restore();
  EXPECT_TRUE(pty.is_cooked());
}

TEST(TerminalGuard, SecondGuardIsAnErrorAndTheFirstStays) {
  PseudoTerminal pty, other;
  auto first = TerminalGuard::make_raw(pty.terminal.get());
  ASSERT_TRUE(first);
  const auto second = TerminalGuard::make_raw(other.terminal.get());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind(), ErrorKind::kBusy);
  EXPECT_FALSE(pty.is_cooked());
  EXPECT_TRUE(other.is_cooked());
}

TEST(TerminalGuard, ContinueIsToldAndRawModeComesBack) {
  PseudoTerminal pty;
  auto guard = TerminalGuard::make_raw(pty.terminal.get());
  ASSERT_TRUE(guard);
  termios cooked;
  ASSERT_EQ(::tcgetattr(pty.terminal.get(), &cooked), 0);
  cooked.c_lflag |= ICANON | ECHO | ISIG;
  ASSERT_EQ(::tcsetattr(pty.terminal.get(), TCSANOW, &cooked), 0);  // as a shell does
  ::raise(SIGCONT);
  pollfd entry{.fd = guard->continued_fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&entry, 1, 0), 1);
  guard->forget_continued();
  EXPECT_EQ(::poll(&entry, 1, 0), 0);
  ASSERT_TRUE(guard->make_raw_again());
  EXPECT_FALSE(pty.is_cooked());
}

TEST(TerminalGuard, NoTerminalIsAnError) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const UniqueFd reading(pipe[0]), writing(pipe[1]);
  EXPECT_FALSE(TerminalGuard::make_raw(reading.get()));
}

TEST(TerminalGuard, HandlersAreGoneAfterwards) {
  PseudoTerminal pty;
  {
    auto guard = TerminalGuard::make_raw(pty.terminal.get());
  }
  struct sigaction action;
  ASSERT_EQ(::sigaction(SIGTERM, nullptr, &action), 0);
  EXPECT_EQ(action.sa_handler, SIG_DFL);
}

class TerminalGuardDeathTest : public ::testing::TestWithParam<int> {};

TEST_P(TerminalGuardDeathTest, FatalSignalRestores) {
  PseudoTerminal pty;
  EXPECT_EXIT(
      {
        // Sanitizers turn faults into exits of their own; what counts here is ours.
        ::signal(GetParam(), SIG_DFL);
        auto guard = TerminalGuard::make_raw(pty.terminal.get());
        CHECK(guard.has_value() && !pty.is_cooked());
        ::raise(GetParam());
      },
      ::testing::KilledBySignal(GetParam()), "");
  EXPECT_TRUE(pty.is_cooked());
}

INSTANTIATE_TEST_SUITE_P(Signals, TerminalGuardDeathTest,
                         ::testing::Values(SIGSEGV, SIGBUS, SIGABRT, SIGSYS, SIGTERM, SIGINT,
                                           SIGHUP, SIGQUIT));

TEST(TerminalGuardExitDeathTest, ExitRestores) {
  PseudoTerminal pty;
  EXPECT_EXIT(
      {
        static auto guard = std::move(*TerminalGuard::make_raw(pty.terminal.get()));
        CHECK(!pty.is_cooked());
        ::exit(3);
      },
      ::testing::ExitedWithCode(3), "");
  EXPECT_TRUE(pty.is_cooked());
}

TEST(TerminalGuardExitDeathTest, FailedCheckRestores) {
  PseudoTerminal pty;
  EXPECT_DEATH(
      {
        auto guard = TerminalGuard::make_raw(pty.terminal.get());
        CHECK(pty.is_cooked());
      },
      "check failed");
  EXPECT_TRUE(pty.is_cooked());
}

}  // namespace
}  // namespace hull::devices
