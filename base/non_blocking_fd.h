// A descriptor that is read and written without ever blocking, whoever else has it open.
#pragma once

#include <cstdint>
#include <span>

#include "base/unique_fd.h"

namespace hull {

class NonBlockingFd {
 public:
  NonBlockingFd() = default;
  // For a descriptor of ours that has O_NONBLOCK set, or that never blocks (a regular file).
  explicit NonBlockingFd(UniqueFd fd) : fd_(std::move(fd)) {}
  // For an inherited one, whose flags are shared with other processes and stay as they are:
  // terminals and pipes are opened anew; where that is not possible, poll(2) goes before every
  // small transfer. `access` is O_RDONLY or O_WRONLY.
  static Result<NonBlockingFd> from_inherited(int fd, int access);

  // The count, 0 at end of file, or a negative errno, -EAGAIN if it would block.
  ssize_t read(std::span<uint8_t> data) const;
  ssize_t write(std::span<const uint8_t> data) const;
  int fd() const { return fd_.get(); }

 private:
  enum class Mode : uint8_t { kPlain, kSocket, kPollFirst };

  NonBlockingFd(UniqueFd fd, Mode mode, size_t chunk)
      : fd_(std::move(fd)), mode_(mode), chunk_(chunk) {}
  bool is_ready(short events) const;

  UniqueFd fd_;
  Mode mode_ = Mode::kPlain;
  size_t chunk_ = SIZE_MAX;  // kPollFirst: what can be written without blocking once it is ready
};

}  // namespace hull
