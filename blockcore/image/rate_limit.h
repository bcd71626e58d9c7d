// Keeps work to so many bytes a second, for programs that have nothing else to do while they wait.
#pragma once

#include <chrono>
#include <cstdint>

namespace hull::blockcore {

class RateLimit {
 public:
  // 0: no limit.
  explicit RateLimit(uint64_t bytes_per_second) : rate_(bytes_per_second) {}

  // When so many bytes may be done, counted from the beginning; thirty years at most.
  std::chrono::nanoseconds due(uint64_t bytes) const;
  // Blocks the thread until then.
  void wait_for(uint64_t bytes) const;

 private:
  const uint64_t rate_;
  const std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace hull::blockcore
