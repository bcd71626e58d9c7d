#include "tools/hull/no_memory.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <new>
#include <string_view>

namespace hull::cli {

namespace {

std::atomic<int> g_exit_code{0};
std::atomic<void (*)()> g_tell{nullptr};

// Not through the log, which makes strings; a reader who is slow goes without it.
void say() {
  constexpr std::string_view kLine =
      "error: out of memory: look at 'ulimit -v', the memory limit of the control group and what "
      "the host has\n";
  pollfd ready{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (::poll(&ready, 1, 0) == 1) (void)!::write(STDERR_FILENO, kLine.data(), kLine.size());
}

[[noreturn]] void on_no_memory() {
  static std::atomic_flag said;
  const auto tell = g_tell.load();
  if (!said.test_and_set()) {
    say();
    if (tell != nullptr) tell();
  }
  // Others who want some, and the one who is to end hull, come here too.
  if (tell != nullptr) ::sleep(1);
  ::_exit(g_exit_code);
}

}  // namespace

void end_when_out_of_memory(int exit_code, void (*tell)()) {
  g_exit_code = exit_code;
  g_tell = tell;
  std::set_new_handler(on_no_memory);
}

}  // namespace hull::cli
