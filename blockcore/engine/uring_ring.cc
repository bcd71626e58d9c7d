#include "blockcore/engine/uring_ring.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

namespace hull::blockcore {
namespace {

// One full virtqueue per turn. Set-up time grows with the size only above this.
constexpr unsigned kSubmissionEntries = 256;

// Best first. 6.1 has all of them, 5.19 COOP_TASKRUN, 5.10 R_DISABLED. TASKRUN_FLAG tells a thread
// that looks at the ring without entering the kernel when it has to.
constexpr unsigned kSetupFlags[] = {
    IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    IORING_SETUP_R_DISABLED | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_R_DISABLED,
};

// Of the thread that calls, and never of another one: std::thread::id is given again after a join.
uint64_t thread_number() {
  static std::atomic<uint64_t> last = 0;
  thread_local const uint64_t own = ++last;
  return own;
}

}  // namespace

Result<void> UringRing::create() {
  int error = 0;
  for (const unsigned flags : kSetupFlags) {
    io_uring_params parameters{};
    parameters.flags = flags;
    error = -io_uring_queue_init_params(kSubmissionEntries, &ring_, &parameters);
    if (error == EINVAL) continue;
    if (error != 0) break;
    exists_ = true;
    Result<void> usable = probe();
    if (usable && (parameters.features & IORING_FEAT_NODROP) != 0) return {};
    destroy();
    if (!usable) return usable;
    error = ENOSYS;
    break;
  }
  return std::unexpected(Error::of_host("io_uring_setup", error));
}

// Container runtimes refuse system calls one by one. A ring that is still disabled answers both
// without any effect.
Result<void> UringRing::probe() const {
  std::array<uint64_t, 2> nothing{};  // struct io_uring_probe without room for an answer
  if (::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_PROBE, nothing.data(), 0) <
      0)
    return std::unexpected(Error::of_host("io_uring_register"));
  if (::syscall(__NR_io_uring_enter, ring_.ring_fd, 0, 0, 0, nullptr, 0) < 0 && errno != EBADFD)
    return std::unexpected(Error::of_host("io_uring_enter"));
  return {};
}

void UringRing::destroy() {
  if (!exists_) return;
  io_uring_queue_exit(&ring_);
  exists_ = false;
  enabled_ = false;
}

Result<void> UringRing::enable() {
  if (!exists_) TRY(create());
  // The wrapper is not exported by every liburing.
  if (::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) <
      0)
    return std::unexpected(Error::of_host("io_uring_register"));
  enabled_ = true;
  owner_ = thread_number();
  return {};
}

bool UringRing::is_foreign() const { return enabled_ && owner_ != thread_number(); }

}  // namespace hull::blockcore
