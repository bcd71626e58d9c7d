#include "tools/hull/daemon.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "tools/hull/exit_code.h"

namespace hull::cli {

namespace {

constexpr int kSignalled = 128;  // as shells say it

}  // namespace

void Readiness::announce() {
  if (!pipe_.valid()) return;
  std::fflush(stdout);
  if (const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC)); null.valid())
    for (int fd = 0; fd <= 2; ++fd) ::dup2(null.get(), fd);
  const char ready = 1;
  (void)write_all(pipe_.get(), std::as_bytes(std::span(&ready, 1)));
  pipe_.reset();
}

int run_in_background(const std::function<int(Readiness)>& child) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return report(Error::from_errno("pipe"));
  UniqueFd reader(ends[0]);
  UniqueFd writer(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return report(Error::from_errno("fork"));
  if (pid == 0) {
    reader.reset();
    ::setsid();
    return child(Readiness(std::move(writer)));
  }
  writer.reset();
  char ready;
  ssize_t got;
  do {
    got = ::read(reader.get(), &ready, 1);
  } while (got < 0 && errno == EINTR);
  if (got == 1) return kExitOk;
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : kSignalled + WTERMSIG(status);
}

}  // namespace hull::cli
