#include "tools/hull/runtime/domain_log.h"

#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

#include "base/check.h"
#include "base/text.h"

namespace hull::cli {

namespace {

// "2026-11-21 01:52:32.123+0000": UTC always, as libvirt writes it.
std::string timestamp() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}+0000", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     now.tv_nsec / 1'000'000);
}

std::string quoted_word(std::string_view word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string_view::npos)
    return std::string(word);
  std::string result = "'";
  for (const char c : printable(word)) {
    if (c == '\'')
      result += "'\\''";
    else
      result += c;
  }
  return result + "'";
}

Result<UniqueFd> open_log(const std::string& path) {
  UniqueFd file =
      TRY(open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK, 0600));
  struct stat status{};
  if (::fstat(file.get(), &status) != 0)
    return std::unexpected(Error::from_errno(fmt::format("stat '{}'", path)));
  if (!S_ISREG(status.st_mode))
    return fail(ErrorKind::kInvalidConfig, "log '{}' is not a regular file", path);
  return file;
}

Result<size_t> size_of(int fd, const std::string& path) {
  struct stat status{};
  if (::fstat(fd, &status) != 0)
    return std::unexpected(Error::from_errno(fmt::format("stat '{}'", path)));
  return static_cast<size_t>(status.st_size);
}

}  // namespace

std::string_view to_string(ShutdownReason reason) {
  switch (reason) {
    case ShutdownReason::kShutdown: return "shutdown";
    case ShutdownReason::kDestroyed: return "destroyed";
    case ShutdownReason::kCrashed: return "crashed";
    case ShutdownReason::kFailed: return "failed";
  }
  CHECK(false);
}

Result<DomainLog> DomainLog::open(const std::string& path, size_t max_bytes) {
  UniqueFd file = TRY(open_log(path));
  const size_t size = TRY(size_of(file.get(), path));
  return DomainLog(path, std::move(file), size, max_bytes);
}

Result<void> DomainLog::starting_up(std::string_view version,
                                    std::span<const std::string> command_line) {
  utsname host{};
  ::uname(&host);
  std::string text =
      fmt::format("{}: starting up hull version: {}, kernel: {}, hostname: {}", timestamp(),
                  printable(version), host.release, printable(host.nodename));
  for (size_t i = 0; i < command_line.size(); ++i) {
    text += i == 0 ? "\n" : " \\\n";
    text += quoted_word(command_line[i]);
  }
  return append(text + "\n");
}

Result<void> DomainLog::shutting_down(ShutdownReason reason) {
  return append(fmt::format("{}: shutting down, reason={}\n", timestamp(), to_string(reason)));
}

Result<void> DomainLog::event(std::string_view text) {
  return append(fmt::format("{}: {}\n", timestamp(), printable(text)));
}

Result<void> DomainLog::append(std::string_view text) {
  if (size_ > 0 && size_ + text.size() > max_bytes_) {
    TRY(rotate_log(path_));
    file_ = TRY(open_log(path_));
    size_ = 0;
  }
  TRY(write_all(file_.get(), std::as_bytes(std::span(text))).with_context(path_));
  size_ += text.size();
  return {};
}

}  // namespace hull::cli
