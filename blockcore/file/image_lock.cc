#include "blockcore/file/image_lock.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdint>
#include <thread>

namespace hull::blockcore {

namespace {

constexpr off_t kUsedBase = 100;
constexpr off_t kNotSharedBase = 200;

constexpr std::chrono::milliseconds kLockRetry{5};

constexpr unsigned kRead = 0;
constexpr unsigned kWrite = 1;
constexpr unsigned kWriteUnchanged = 2;
constexpr unsigned kResize = 3;
constexpr unsigned kPermissions = 4;

constexpr const char* kNames[kPermissions] = {"read", "write", "write-unchanged", "resize"};

int control(int fd, int command, struct flock& lock) {
  int result;
  do {
    result = ::fcntl(fd, command, &lock);
  } while (result < 0 && errno == EINTR);
  return result < 0 ? -errno : 0;
}

struct flock byte_lock(short type, off_t byte) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = byte;
  lock.l_len = 1;
  return lock;
}

int lock_byte(int fd, off_t byte) {
  struct flock lock = byte_lock(F_RDLCK, byte);
  return control(fd, F_OFD_SETLK, lock);
}

// 1 if another description holds the byte, 0 if not, or -errno.
int held_by_others(int fd, off_t byte) {
  struct flock lock = byte_lock(F_WRLCK, byte);
  const int result = control(fd, F_OFD_GETLK, lock);
  if (result < 0) return result;
  return lock.l_type != F_UNLCK ? 1 : 0;
}

void unlock_all(int fd) {
  struct flock lock = byte_lock(F_UNLCK, kUsedBase);
  lock.l_len = kNotSharedBase + kPermissions - kUsedBase;
  control(fd, F_OFD_SETLK, lock);
}

bool is_unsupported(int result) {
  return result == -EINVAL || result == -ENOLCK || result == -EOPNOTSUPP || result == -ENOSYS;
}

std::unexpected<Error> busy(const std::string& path, const char* verb, unsigned permission) {
  return fail(ErrorKind::kBusy, "{}: is in use: another program {} '{}' access to it", path, verb,
              kNames[permission]);
}

int lock_own_bytes(int fd, unsigned used, unsigned shared) {
  for (unsigned p = 0; p < kPermissions; ++p) {
    int result = 0;
    if ((used & (1U << p)) != 0) result = lock_byte(fd, kUsedBase + p);
    if (result == 0 && (shared & (1U << p)) == 0) result = lock_byte(fd, kNotSharedBase + p);
    if (result < 0) return result;
  }
  return 0;
}

Result<void> check_others(int fd, const std::string& path, unsigned used, unsigned shared) {
  for (unsigned p = 0; p < kPermissions; ++p) {
    const int denied = (used & (1U << p)) != 0 ? held_by_others(fd, kNotSharedBase + p) : 0;
    const int taken = (shared & (1U << p)) == 0 ? held_by_others(fd, kUsedBase + p) : 0;
    if (denied < 0 || taken < 0)
      return std::unexpected(
          Error::from_errno(fmt::format("{}: query lock", path), denied < 0 ? -denied : -taken));
    if (denied != 0) return busy(path, "does not share", p);
    if (taken != 0) return busy(path, "has", p);
  }
  return {};
}

}  // namespace

Result<LockOutcome> lock_image(int fd, const std::string& path, const LockRequest& request) {
  unsigned used = 1U << kRead;
  if (request.write) used |= 1U << kWrite;
  if (request.resize) used |= 1U << kResize;
  unsigned shared = 1U << kRead | 1U << kWriteUnchanged;
  if (request.share_write) shared |= 1U << kWrite | 1U << kResize;

  const int locked = lock_own_bytes(fd, used, shared);
  if (is_unsupported(locked)) return LockOutcome::kUnsupported;
  if (locked == -EAGAIN || locked == -EACCES) {
    unlock_all(fd);
    return fail(ErrorKind::kBusy, "{}: is in use: another program has locked it", path);
  }
  if (locked < 0) return std::unexpected(Error::from_errno(fmt::format("{}: lock", path), -locked));
  if (auto free = check_others(fd, path, used, shared); !free) {
    unlock_all(fd);
    return std::unexpected(std::move(free).error());
  }
  return LockOutcome::kLocked;
}

Result<LockOutcome> lock_image_patiently(int fd, const std::string& path,
                                         const LockRequest& request) {
  const auto deadline = std::chrono::steady_clock::now() + kLockPatience;
  for (;;) {
    auto outcome = lock_image(fd, path, request);
    if (outcome || outcome.error().kind() != ErrorKind::kBusy ||
        std::chrono::steady_clock::now() >= deadline)
      return outcome;
    std::this_thread::sleep_for(kLockRetry);
  }
}

}  // namespace hull::blockcore
