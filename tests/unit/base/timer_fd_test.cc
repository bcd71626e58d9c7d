#include "base/timer_fd.h"

#include <gtest/gtest.h>
#include <poll.h>

namespace hull {
namespace {

bool readable(const TimerFd& timer, int timeout_ms) {
  pollfd waiting{.fd = timer.fd(), .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, timeout_ms) == 1;
}

TEST(TimerFd, ExpiresOnceAfterTheDelay) {
  auto timer = TimerFd::create();
  ASSERT_TRUE(timer);
  EXPECT_FALSE(timer->consume());
  timer->arm(std::chrono::milliseconds(1));
  ASSERT_TRUE(readable(*timer, 60'000));
  EXPECT_TRUE(timer->consume());
  EXPECT_FALSE(timer->consume());
  timer->arm(std::chrono::nanoseconds(-5));
  EXPECT_TRUE(readable(*timer, 60'000));
}

TEST(TimerFd, TheLastCallCounts) {
  auto timer = TimerFd::create();
  ASSERT_TRUE(timer);
  timer->arm(std::chrono::nanoseconds(1));
  timer->arm(std::chrono::hours(1000));
  EXPECT_FALSE(timer->consume());
  timer->arm(std::chrono::nanoseconds(1));
  ASSERT_TRUE(readable(*timer, 60'000));
  timer->disarm();
  EXPECT_FALSE(timer->consume());
}

}  // namespace
}  // namespace hull
