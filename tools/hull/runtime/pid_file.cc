#include "tools/hull/runtime/pid_file.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <span>

#include "config/values.h"

namespace hull::cli {

namespace {

constexpr mode_t kPidFileMode = 0644;
// How often the file may be replaced under us by others that stop and start.
constexpr int kAttempts = 100;

// On byte 0.
struct flock lock_of(short type) {
  struct flock lock{};
  lock.l_type = type;
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
  const auto number = config::parse_number({text, static_cast<size_t>(got)});
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

// Whoever may read the file can put a read lock on it; only a writer runs the domain.
Result<bool> has_writer(int fd, const std::string& path) {
  struct flock lock = lock_of(F_RDLCK);
  if (::fcntl(fd, F_OFD_GETLK, &lock) != 0)
    return std::unexpected(Error::from_errno(fmt::format("query the lock of '{}'", path)));
  return lock.l_type == F_WRLCK;
}

// False: somebody has a lock.
Result<bool> try_lock(int fd, const std::string& path) {
  struct flock lock = lock_of(F_WRLCK);
  if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  return std::unexpected(Error::from_errno(fmt::format("lock '{}'", path)));
}

std::unexpected<Error> busy(int fd, const std::string& path) {
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

// One at a time: two would put back what the other has just taken away. Readable by the owner
// alone, so that nobody else can lock it.
class ReplacersTurn {
 public:
  static Result<ReplacersTurn> take(const std::string& path) {
    std::string name = path + ".turn";
    UniqueFd file = TRY(open_file(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0600));
    if (!TRY(try_lock(file.get(), name)) || !still_in_place(file.get(), name))
      return fail(ErrorKind::kBusy, "is being started by another process ('{}' is locked)", name);
    return ReplacersTurn(std::move(name), std::move(file));
  }
  ~ReplacersTurn() {
    if (file_.valid()) ::unlink(name_.c_str());
  }
  ReplacersTurn(ReplacersTurn&&) = default;

 private:
  ReplacersTurn(std::string name, UniqueFd file) : name_(std::move(name)), file_(std::move(file)) {}

  std::string name_;
  UniqueFd file_;
};

// A new file, locked before anybody sees it, takes the place of one that is locked by readers
// alone. Should a writer have come to the old one meanwhile, it gets its place back.
Result<UniqueFd> replace_file(const std::string& path) {
  const ReplacersTurn turn = TRY(ReplacersTurn::take(path));
  const std::string aside = fmt::format("{}.{}", path, ::getpid());
  ::unlink(aside.c_str());
  UniqueFd file =
      TRY(open_file(aside, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_NONBLOCK, kPidFileMode));
  const auto exchange = [&] {
    return ::renameat2(AT_FDCWD, aside.c_str(), AT_FDCWD, path.c_str(), RENAME_EXCHANGE) == 0;
  };
  Result<UniqueFd> result = fail(ErrorKind::kBusy, "'{}' is locked", path);
  if (TRY(try_lock(file.get(), aside)) && exchange()) {
    const auto old = open_file(aside, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    const auto writer = old ? has_writer(old->get(), path) : Result<bool>(true);
    if (writer && !*writer)
      result = std::move(file);
    else
      exchange();
  }
  ::unlink(aside.c_str());
  return result;
}

}  // namespace

Result<PidFile> PidFile::acquire(const std::string& path) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    UniqueFd file = TRY(open_file(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, kPidFileMode));
    TRY(check_regular(file.get(), path));
    if (!TRY(try_lock(file.get(), path))) {
      const bool running = TRY(has_writer(file.get(), path));
      if (running) return busy(file.get(), path);
      file = TRY(replace_file(path));
    }
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
  const bool running = TRY(has_writer(file->get(), path));
  if (!running) return std::nullopt;
  return read_pid(file->get());
}

PidFile::~PidFile() { remove(); }

void PidFile::remove() {
  // Only our own file: an administrator may have moved it away.
  if (file_.valid() && still_in_place(file_.get(), path_)) ::unlink(path_.c_str());
}

Result<void> PidFile::publish(pid_t pid) {
  const std::string text = std::to_string(pid);
  return write_all_at(file_.get(), std::as_bytes(std::span(text)), 0)
      .with_context(fmt::format("write '{}'", path_));
}

}  // namespace hull::cli
