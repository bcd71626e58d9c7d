// Key material in memory of its own: not in core dumps, not swapped out where the host allows it,
// wiped when it is no longer needed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/mapping.h"
#include "base/result.h"

namespace hull::blockcore {

class Secret {
 public:
  static constexpr size_t kMaxBytes = 64 << 10;

  // All zeros; at most kMaxBytes unless hull itself knows how large it has to be.
  static Result<Secret> zeros(size_t size_bytes);
  // Everything that the file or descriptor holds, a final newline included, as QEMU has it. `name`
  // is for messages. kOutOfRange for more than kMaxBytes.
  static Result<Secret> read_file(const std::string& path);
  static Result<Secret> read_fd(int fd, const std::string& name);
  static Result<Secret> copy(std::span<const std::byte> bytes);

  Secret(Secret&& other) noexcept = default;
  Secret& operator=(Secret&&) = delete;
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;
  ~Secret();

  // For nettle, which takes uint8_t; size_bytes() long.
  uint8_t* data() const { return memory_.data(); }
  size_t size_bytes() const { return size_bytes_; }
  std::span<std::byte> bytes() const {
    return {reinterpret_cast<std::byte*>(memory_.data()), size_bytes_};
  }
  // Shortens it.
  void truncate(size_t size_bytes);

 private:
  Secret(Mapping memory, size_t size_bytes) : memory_(std::move(memory)), size_bytes_(size_bytes) {}

  Mapping memory_;
  size_t size_bytes_;
};

}  // namespace hull::blockcore
