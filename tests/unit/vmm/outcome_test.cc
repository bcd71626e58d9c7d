#include "vmm/outcome.h"

#include <gtest/gtest.h>
#include <poll.h>

#include <thread>
#include <vector>

namespace hull::vmm {
namespace {

bool is_readable(int fd) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, 0) == 1;
}

TEST(Outcome, FirstRecordWinsAndIsTold) {
  const auto outcome = std::move(*Outcome::create());
  EXPECT_FALSE(outcome->ended());
  EXPECT_FALSE(is_readable(outcome->event_fd()));
  outcome->debug_exit(7);
  outcome->power_off();
  EXPECT_TRUE(outcome->ended());
  EXPECT_TRUE(is_readable(outcome->event_fd()));
  EXPECT_EQ(outcome->reason().kind, EndKind::kDebugExit);
  EXPECT_EQ(outcome->reason().code, 7u);
}

TEST(Outcome, OfManyThreadsOneWins) {
  const auto outcome = std::move(*Outcome::create());
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 8; ++i)
    threads.emplace_back([&, i] { outcome->record({.kind = EndKind::kDebugExit, .code = i}); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_LT(outcome->reason().code, 8u);
}

}  // namespace
}  // namespace hull::vmm
