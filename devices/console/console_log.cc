#include "devices/console/console_log.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"
#include "base/log_rotation.h"

namespace hull::devices {

Result<UniqueFd> open_output_file(const std::string& path, bool append) {
  return open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK |
                             (append ? 0 : O_TRUNC));
}

Result<std::unique_ptr<ConsoleLog>> ConsoleLog::open(const std::string& path, bool append) {
  UniqueFd fd = TRY(open_output_file(path, append).with_context("console log"));
  std::unique_ptr<ConsoleLog> log(new ConsoleLog(path, std::move(fd)));
  TRY(log->learn_size());
  return log;
}

Result<void> ConsoleLog::learn_size() {
  struct stat status{};
  if (::fstat(fd_.get(), &status) != 0)
    return std::unexpected(Error::from_errno(fmt::format("console log: stat '{}'", path_)));
  is_file_ = S_ISREG(status.st_mode);
  size_bytes_ = is_file_ ? static_cast<uint64_t>(status.st_size) : 0;
  return {};
}

// Where it cannot be moved away it is emptied: a guest does not fill the host's disk.
void ConsoleLog::begin_anew() {
  const auto moved = rotate_log(path_);
  auto opened = moved ? open_output_file(path_, true) : Result<UniqueFd>(UniqueFd());
  if (opened && opened->valid()) {
    fd_ = *std::move(opened);
  } else {
    LOG_LIMITED(LogLevel::kWarn, path_, "console log '{}' is full, and begins anew: {}", path_,
                moved ? opened.error().message() : moved.error().message());
    if (::ftruncate(fd_.get(), 0) != 0) lost_bytes_ += size_bytes_;
  }
  size_bytes_ = 0;
}

ConsoleLog::~ConsoleLog() {
  if (lost_bytes_ != 0) LOG_WARN("console log '{}': {} bytes were lost", path_, lost_bytes_);
}

void ConsoleLog::write(std::span<const uint8_t> data) {
  if (is_file_ && size_bytes_ != 0 && size_bytes_ + data.size() > kMaxLogFileBytes) begin_anew();
  while (!data.empty()) {
    const ssize_t put = ::write(fd_.get(), data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      if (lost_bytes_ == 0)
        LOG_WARN("console log: {}; output is lost", Error::from_errno(path_).message());
      lost_bytes_ += data.size();
      return;
    }
    size_bytes_ += static_cast<uint64_t>(put);
    data = data.subspan(static_cast<size_t>(put));
  }
}

}  // namespace hull::devices
