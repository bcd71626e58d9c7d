#include "blockcore/engine/poll_window.h"

#include <gtest/gtest.h>

namespace hull::blockcore {
namespace {

using std::chrono::microseconds;

TEST(PollWindow, IsClosedAtFirst) { EXPECT_EQ(PollWindow().length().count(), 0); }

TEST(PollWindow, OpensWhileSleepIsShortUpToItsLimit) {
  PollWindow window;
  window.slept(microseconds(10));
  EXPECT_EQ(window.length(), PollWindow::kFirst);
  window.slept(microseconds(10));
  EXPECT_EQ(window.length(), 2 * PollWindow::kFirst);
  for (int i = 0; i < 10; ++i) window.slept(microseconds(10));
  EXPECT_EQ(window.length(), PollWindow::kLongest);
}

TEST(PollWindow, ClosesWhenSleepIsLong) {
  PollWindow window;
  for (int i = 0; i < 10; ++i) window.slept(microseconds(10));
  window.slept(microseconds(1000));
  EXPECT_EQ(window.length(), PollWindow::kLongest / 2);
  for (int i = 0; i < 5; ++i) window.slept(microseconds(1000));
  EXPECT_EQ(window.length().count(), 0) << "an idle guest costs nothing";
}

}  // namespace
}  // namespace hull::blockcore
