#include "base/unique_fd.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace hull {

void UniqueFd::reset(int fd) {
  // close(2) must not be retried on EINTR: on Linux the descriptor is gone either way.
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

namespace {

// What the words of the error number do not say and helps.
std::string open_failure_hint(const std::string& path, int flags, int error_number) {
  struct stat status{};
  if (error_number == ENXIO && (flags & O_ACCMODE) == O_WRONLY)
    return " (a socket, or a FIFO that nobody reads)";
  if (error_number == EACCES && ::stat(path.c_str(), &status) == 0)
    return fmt::format(" (mode {:04o}, owner {}, group {})", status.st_mode & 07777, status.st_uid,
                       status.st_gid);
  return {};
}

}  // namespace

Result<UniqueFd> open_file(const std::string& path, int flags, mode_t mode) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd >= 0) return UniqueFd(fd);
  const Error error = Error::from_errno(fmt::format("open '{}'", path));
  const int number = error.error_number();
  return std::unexpected(
      Error(error.kind(), error.message() + open_failure_hint(path, flags, number), number));
}

Result<void> read_exact_at(int fd, std::span<std::byte> data, uint64_t offset) {
  while (!data.empty()) {
    const ssize_t got = ::pread(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(Error::from_errno(fmt::format("read at {:#x}", offset)));
    if (got == 0)
      return fail(ErrorKind::kOutOfRange, "read at {:#x}: end of file, {} bytes missing", offset,
                  data.size());
    data = data.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return {};
}

Result<void> write_all_at(int fd, std::span<const std::byte> data, uint64_t offset) {
  while (!data.empty()) {
    const ssize_t put = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return std::unexpected(Error::from_errno(fmt::format("write at {:#x}", offset)));
    if (put == 0) return fail(ErrorKind::kIo, "write at {:#x}: nothing was written", offset);
    data = data.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return {};
}

Result<void> write_all(int fd, std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t put = ::write(fd, data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return std::unexpected(Error::from_errno("write"));
    if (put == 0) return fail(ErrorKind::kIo, "write: nothing was written");
    data = data.subspan(static_cast<size_t>(put));
  }
  return {};
}

Result<std::string> read_whole(int fd, size_t limit) {
  std::string text;
  char buffer[16384];
  for (;;) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::unexpected(Error::from_errno("read"));
    if (got == 0) return text;
    if (text.size() + static_cast<size_t>(got) > limit)
      return fail(ErrorKind::kOutOfRange, "larger than {} bytes", limit);
    text.append(buffer, static_cast<size_t>(got));
  }
}

}  // namespace hull
