#include "tests/support/held_reads.h"

#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>

namespace {

struct Gate {
  std::mutex mutex;
  std::condition_variable opened;
  int fd = -1;
};

Gate& gate() {
  static Gate the_gate;
  return the_gate;
}

}  // namespace

// In the place of the C library's.
extern "C" ssize_t preadv64(int fd, const iovec* buffers, int count, off64_t offset) {
  {
    std::unique_lock lock(gate().mutex);
    gate().opened.wait(lock, [fd] { return gate().fd != fd; });
  }
  return ::syscall(SYS_preadv, fd, buffers, count, offset, offset >> 32);
}

namespace hull::testing {

HeldReads::HeldReads() : file_(open_file("/dev/null", O_RDONLY).value()) {
  const std::lock_guard lock(gate().mutex);
  gate().fd = file_.get();
}

void HeldReads::release() {
  {
    const std::lock_guard lock(gate().mutex);
    gate().fd = -1;
  }
  gate().opened.notify_all();
}

}  // namespace hull::testing
