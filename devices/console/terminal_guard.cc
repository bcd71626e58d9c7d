#include "devices/console/terminal_guard.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdlib>
#include <utility>

#include "base/check.h"

namespace hull::devices {

namespace {

constexpr std::array kFatalSignals = {SIGSEGV, SIGBUS, SIGILL, SIGFPE,  SIGABRT, SIGSYS,
                                      SIGTRAP, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

// Global, because a signal handler has nothing else. Written before `g_terminal` says so.
std::atomic<int> g_terminal{-1};
termios g_saved;
std::array<struct sigaction, kFatalSignals.size()> g_previous;

void on_fatal_signal(int number) {
  TerminalGuard::restore();
  for (size_t i = 0; i < kFatalSignals.size(); ++i) {
    if (kFatalSignals[i] == number) ::sigaction(number, &g_previous[i], nullptr);
  }
  ::raise(number);  // delivered when this handler returns, to whoever was there before
}

void catch_fatal_signals() {
  struct sigaction action{};
  action.sa_handler = on_fatal_signal;
  action.sa_flags = SA_ONSTACK;
  for (size_t i = 0; i < kFatalSignals.size(); ++i) {
    ::sigaction(kFatalSignals[i], nullptr, &g_previous[i]);
    if (g_previous[i].sa_handler != SIG_IGN) ::sigaction(kFatalSignals[i], &action, nullptr);
  }
}

void release_fatal_signals() {
  for (size_t i = 0; i < kFatalSignals.size(); ++i) {
    struct sigaction current;
    ::sigaction(kFatalSignals[i], nullptr, &current);
    if (current.sa_handler == on_fatal_signal)
      ::sigaction(kFatalSignals[i], &g_previous[i], nullptr);
  }
}

}  // namespace

Result<TerminalGuard> TerminalGuard::make_raw(int fd) {
  CHECK(g_terminal.load() < 0);
  if (::tcgetattr(fd, &g_saved) < 0)
    return std::unexpected(Error::from_errno("read the terminal's settings"));
  termios raw = g_saved;
  ::cfmakeraw(&raw);
  raw.c_oflag = g_saved.c_oflag;
  static const int registered = std::atexit(restore);
  CHECK(registered == 0);
  g_terminal.store(fd);
  catch_fatal_signals();
  if (::tcsetattr(fd, TCSANOW, &raw) < 0) {
    Error error = Error::from_errno("set the terminal to raw mode");
    g_terminal.store(-1);
    release_fatal_signals();
    return std::unexpected(std::move(error));
  }
  TerminalGuard guard;
  guard.active_ = true;
  return guard;
}

TerminalGuard::TerminalGuard(TerminalGuard&& other) noexcept
    : active_(std::exchange(other.active_, false)) {}

TerminalGuard::~TerminalGuard() {
  if (!active_) return;
  restore();
  release_fatal_signals();
}

void TerminalGuard::restore() {
  const int fd = g_terminal.exchange(-1);
  if (fd < 0) return;
  // A process in the background would be stopped by SIGTTOU here, for ever if it is orphaned.
  sigset_t blocked, previous;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTTOU);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &previous);
  ::tcsetattr(fd, TCSANOW, &g_saved);
  ::pthread_sigmask(SIG_SETMASK, &previous, nullptr);
}

}  // namespace hull::devices
