#include "blockcore/image/rate_limit.h"

#include <algorithm>
#include <thread>

namespace hull::blockcore {
namespace {

constexpr double kMostSeconds = 1e9;

}  // namespace

std::chrono::nanoseconds RateLimit::due(uint64_t bytes) const {
  if (rate_ == 0) return {};
  const double seconds = static_cast<double>(bytes) / static_cast<double>(rate_);
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(std::min(seconds, kMostSeconds)));
}

void RateLimit::wait_for(uint64_t bytes) const {
  if (rate_ != 0) std::this_thread::sleep_until(began_ + due(bytes));
}

}  // namespace hull::blockcore
