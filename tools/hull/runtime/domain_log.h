// The log of a domain, in the two line forms by which log scrapers recognise a libvirt log:
//   2026-11-21 01:52:32.123+0000: starting up hull version: 0.1, kernel: 6.1.0, hostname: h
//   hull run …
//   a.xml
//   2026-11-21 01:53:10.456+0000: shutting down, reason=destroyed
// What the guest prints goes to a file of its own; still, the size is bounded by rotation.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "base/log_rotation.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hull::cli {

// libvirt's words for why a domain ended.
enum class ShutdownReason : unsigned char { kShutdown, kDestroyed, kCrashed, kFailed };
std::string_view to_string(ShutdownReason reason);

// Owner: one thread.
class DomainLog {
 public:
  // Opens for appending, mode 0600, not following a link. A full log is rotated first.
  static Result<DomainLog> open(const std::string& path, size_t max_bytes = kMaxLogFileBytes);

  // `command_line` is printed one word a line, quoted as a shell would need it.
  Result<void> starting_up(std::string_view version, std::span<const std::string> command_line);
  Result<void> shutting_down(ShutdownReason reason);
  // One line of one's own: "TIME: TEXT"; control characters are shown as \xNN.
  Result<void> event(std::string_view text);

 private:
  DomainLog(std::string path, UniqueFd file, size_t size, size_t max_bytes)
      : path_(std::move(path)), file_(std::move(file)), size_(size), max_bytes_(max_bytes) {}

  Result<void> append(std::string_view text);

  std::string path_;
  UniqueFd file_;
  size_t size_;
  size_t max_bytes_;
};

}  // namespace hull::cli
