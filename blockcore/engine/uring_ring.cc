#include "blockcore/engine/uring_ring.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "base/check.h"
#include "base/log.h"

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
    if ((parameters.features & IORING_FEAT_NODROP) != 0) return {};
    destroy();
    error = ENOSYS;
    break;
  }
  return std::unexpected(
      Error(ErrorKind::kHost, Error::from_errno("io_uring_setup", error).message(), error));
}

void UringRing::destroy() {
  if (!exists_) return;
  io_uring_queue_exit(&ring_);
  exists_ = false;
  enabled_ = false;
}

void UringRing::enable() {
  if (!exists_) {
    const auto created = create();
    if (!created) LOG_ERROR("{}", created.error().message());
    CHECK(created.has_value());
  }
  // The wrapper is not exported by every liburing.
  const long enabled =
      ::syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
  CHECK(enabled == 0);
  enabled_ = true;
  owner_ = thread_number();
}

bool UringRing::is_foreign() const { return enabled_ && owner_ != thread_number(); }

}  // namespace hull::blockcore
