#include "devices/console/terminal_guard.h"

#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <utility>

#include "base/check.h"

namespace hull::devices {

namespace {

constexpr std::array kFatalSignals = {SIGSEGV, SIGBUS, SIGILL, SIGFPE,  SIGABRT, SIGSYS,
                                      SIGTRAP, SIGHUP, SIGINT, SIGQUIT, SIGTERM};

// Global, because a signal handler has nothing else. Written before `g_terminal` says so.
std::atomic<int> g_terminal{-1};
std::atomic<bool> g_claimed{false};  // by the one guard
std::atomic<int> g_continued{-1};    // its eventfd
termios g_saved;
struct sigaction g_previous_continue;
std::array<struct sigaction, kFatalSignals.size()> g_previous;

void on_fatal_signal(int number) {
  TerminalGuard::restore();
  for (size_t i = 0; i < kFatalSignals.size(); ++i) {
    if (kFatalSignals[i] == number) ::sigaction(number, &g_previous[i], nullptr);
  }
  ::raise(number);  // delivered when this handler returns, to whoever was there before
}

void on_continue(int number) {
  const int saved = errno;
  const uint64_t one = 1;
  if (const int fd = g_continued.load(); fd >= 0) static_cast<void>(!::write(fd, &one, sizeof one));
  const auto previous = g_previous_continue.sa_handler;
  if (previous != SIG_DFL && previous != SIG_IGN &&
      (g_previous_continue.sa_flags & SA_SIGINFO) == 0)
    previous(number);
  errno = saved;
}

void catch_continue(int event_fd) {
  g_continued.store(event_fd);
  struct sigaction action{};
  action.sa_handler = on_continue;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGCONT, nullptr, &g_previous_continue);
  ::sigaction(SIGCONT, &action, nullptr);
}

void release_continue() {
  g_continued.store(-1);
  struct sigaction current;
  ::sigaction(SIGCONT, nullptr, &current);
  if (current.sa_handler == on_continue) ::sigaction(SIGCONT, &g_previous_continue, nullptr);
}

termios raw_form_of(const termios& settings) {
  termios raw = settings;
  ::cfmakeraw(&raw);
  raw.c_oflag = settings.c_oflag;
  return raw;
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
  TerminalGuard guard(TRY(EventFd::create()));
  if (g_claimed.exchange(true))
    return fail(ErrorKind::kBusy, "another virtual machine of this process is on the terminal");
  guard.active_ = true;
  if (::tcgetattr(fd, &g_saved) < 0)
    return std::unexpected(Error::from_errno("read the terminal's settings"));
  static const int registered = std::atexit(restore);
  CHECK(registered == 0);
  g_terminal.store(fd);
  catch_fatal_signals();
  catch_continue(guard.continued_.fd());
  TRY(guard.make_raw_again());
  return guard;
}

Result<void> TerminalGuard::make_raw_again() {
  const int fd = g_terminal.load();
  if (!active_ || fd < 0) return {};
  const termios raw = raw_form_of(g_saved);
  if (::tcsetattr(fd, TCSANOW, &raw) < 0)
    return std::unexpected(Error::from_errno("set the terminal to raw mode"));
  return {};
}

TerminalGuard::TerminalGuard(TerminalGuard&& other) noexcept
    : continued_(std::move(other.continued_)), active_(std::exchange(other.active_, false)) {}

TerminalGuard::~TerminalGuard() {
  if (!active_) return;
  restore();
  release_continue();
  release_fatal_signals();
  g_claimed.store(false);
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
