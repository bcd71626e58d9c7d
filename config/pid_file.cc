#include "config/pid_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <span>
#include <string_view>

#include "config/values.h"

namespace hull::config {

namespace {

constexpr mode_t kPidFileMode = 0644;
// How often the file may be replaced under us by others that stop and start.
constexpr int kAttempts = 100;

struct flock write_lock() {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = 0;
  lock.l_len = 1;
  return lock;
}

// 0 if the file holds no number (yet).
pid_t read_pid(int fd) {
  char text[16];
  const ssize_t got = ::pread(fd, text, sizeof text, 0);
  if (got <= 0) return 0;
  const auto number = parse_number({text, static_cast<size_t>(got)});
  return number && *number <= 0x7fffffff ? static_cast<pid_t>(*number) : 0;
}

Result<void> check_regular(int fd, const std::string& path) {
  struct stat status{};
  if (::fstat(fd, &status) != 0)
    return std::unexpected(Error::from_errno(fmt::format("stat '{}'", path)));
  if (!S_ISREG(status.st_mode))
    return fail(ErrorKind::kInvalidConfig, "'{}' is not a regular file", path);
  return {};
}

Result<void> lock_file(int fd, const std::string& path) {
  struct flock lock = write_lock();
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
  if (errno != EAGAIN && errno != EACCES)
    return std::unexpected(Error::from_errno(fmt::format("lock '{}'", path)));
  const pid_t pid = read_pid(fd);
  if (pid == 0)
    return fail(ErrorKind::kBusy, "is being started by another process ('{}' is locked)", path);
  return fail(ErrorKind::kBusy, "is already running, PID {} ('{}' is locked)", pid, path);
}

// Between open and lock another process may have removed the file: then we hold a lock that nobody
// else would see.
bool still_in_place(int fd, const std::string& path) {
  struct stat opened{};
  struct stat named{};
  return ::fstat(fd, &opened) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

}  // namespace

Result<PidFile> PidFile::acquire(const std::string& path) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    UniqueFd file = TRY(open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, kPidFileMode));
    TRY(check_regular(file.get(), path));
    TRY(lock_file(file.get(), path));
    if (!still_in_place(file.get(), path)) continue;
    if (::ftruncate(file.get(), 0) != 0 || ::fchmod(file.get(), kPidFileMode) != 0)
      return std::unexpected(Error::from_errno(fmt::format("prepare '{}'", path)));
    return PidFile(path, std::move(file));
  }
  return fail(ErrorKind::kBusy, "'{}' is replaced all the time", path);
}

Result<std::optional<pid_t>> PidFile::holder(const std::string& path) {
  const auto file = open_file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!file) {
    if (file.error().error_number() == ENOENT) return std::nullopt;
    return std::unexpected(file.error());
  }
  TRY(check_regular(file->get(), path));
  struct flock lock = write_lock();
  if (::fcntl(file->get(), F_OFD_GETLK, &lock) != 0)
    return std::unexpected(Error::from_errno(fmt::format("query the lock of '{}'", path)));
  if (lock.l_type == F_UNLCK) return std::nullopt;
  return read_pid(file->get());
}

PidFile::~PidFile() {
  // Only our own file: an administrator may have moved it away.
  if (file_.valid() && still_in_place(file_.get(), path_)) ::unlink(path_.c_str());
}

Result<void> PidFile::publish(pid_t pid) {
  const std::string text = std::to_string(pid);
  return write_all_at(file_.get(), std::as_bytes(std::span(text)), 0)
      .with_context(fmt::format("write '{}'", path_));
}

}  // namespace hull::config
