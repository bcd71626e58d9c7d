// The bytes of a kernel or initrd: a regular file, or memory of ours (the built-in guest).
//
// Opened before confinement and kept for reboots. The content is hostile; the size is that at open
// time, and a file that shrank since is an error, not a short read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/guest_memory.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace hull::firmware {

class ImageSource {
 public:
  // Errors name the path. Anything but a regular file is kInvalidFormat.
  static Result<ImageSource> open(const std::string& path);
  static Result<ImageSource> from_fd(UniqueFd fd, std::string name);
  // `bytes` is borrowed for the life of the source.
  static ImageSource of_bytes(std::span<const std::byte> bytes, std::string name);

  const std::string& name() const { return name_; }
  uint64_t size() const { return size_; }

  // Exactly the bytes at `offset`; past the end is kInvalidFormat ("truncated").
  Result<void> read(uint64_t offset, std::span<std::byte> destination) const;
  // The same straight into guest RAM: no copy in between for files.
  Result<void> load(uint64_t offset, const GuestSlice& destination) const;

 private:
  ImageSource(UniqueFd fd, std::span<const std::byte> bytes, uint64_t size, std::string name)
      : fd_(std::move(fd)), bytes_(bytes), size_(size), name_(std::move(name)) {}
  Result<void> check_range(uint64_t offset, uint64_t length) const;

  UniqueFd fd_;  // not valid: bytes_
  std::span<const std::byte> bytes_;
  uint64_t size_;
  std::string name_;
};

}  // namespace hull::firmware
