#include "devices/console/console_log.h"

#include <unistd.h>

#include <cerrno>

#include "base/log.h"

namespace hull::devices {

Result<UniqueFd> open_output_file(const std::string& path, bool append) {
  return open_file(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK |
                             (append ? 0 : O_TRUNC));
}

Result<std::unique_ptr<ConsoleLog>> ConsoleLog::open(const std::string& path, bool append) {
  UniqueFd fd = TRY(open_output_file(path, append).with_context("console log"));
  return std::unique_ptr<ConsoleLog>(new ConsoleLog(path, std::move(fd)));
}

ConsoleLog::~ConsoleLog() {
  if (lost_bytes_ != 0) LOG_WARN("console log '{}': {} bytes were lost", path_, lost_bytes_);
}

void ConsoleLog::write(std::span<const uint8_t> data) {
  while (!data.empty()) {
    const ssize_t put = ::write(fd_.get(), data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      if (lost_bytes_ == 0)
        LOG_WARN("console log: {}; output is lost", Error::from_errno(path_).message());
      lost_bytes_ += data.size();
      return;
    }
    data = data.subspan(static_cast<size_t>(put));
  }
}

}  // namespace hull::devices
