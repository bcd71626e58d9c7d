// File descriptors and what is done with them everywhere. A raw `int fd` parameter is a borrow for
// the duration of the call; ownership is a UniqueFd. Every open is O_CLOEXEC; EINTR and short
// transfers are handled here and nowhere else.
#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "base/result.h"

namespace hull {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// open(2) with O_CLOEXEC added; the error names the path.
Result<UniqueFd> open_file(const std::string& path, int flags, mode_t mode = 0600);

// Exactly `data.size()` bytes, or an error; end of file is kOutOfRange.
Result<void> read_exact_at(int fd, std::span<std::byte> data, uint64_t offset);
Result<void> write_all_at(int fd, std::span<const std::byte> data, uint64_t offset);
Result<void> write_all(int fd, std::span<const std::byte> data);

// The whole file (regular, pipe or terminal); more than `limit` bytes is kOutOfRange.
Result<std::string> read_whole(int fd, size_t limit);

}  // namespace hull
