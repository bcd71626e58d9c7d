#include "base/event_loop.h"

#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace hull {
namespace {

using std::chrono::milliseconds;

class EventLoopTest : public ::testing::Test {
 protected:
  EventFd event() { return std::move(*EventFd::create()); }
  void run() { ASSERT_TRUE(loop_.run()); }

  EventLoop loop_ = std::move(*EventLoop::create());
};

TEST_F(EventLoopTest, ReadableDescriptorCallsItsHandler) {
  const EventFd ready = event();
  uint32_t seen = 0;
  ASSERT_TRUE(loop_.add(ready.fd(), EPOLLIN, [&](uint32_t events) {
    seen = events;
    loop_.stop();
  }));
  ready.signal();
  run();
  EXPECT_EQ(seen, static_cast<uint32_t>(EPOLLIN));
}

TEST_F(EventLoopTest, LevelTriggeredUntilConsumed) {
  const EventFd ready = event();
  int calls = 0;
  ASSERT_TRUE(loop_.add(ready.fd(), EPOLLIN, [&](uint32_t) {
    if (++calls == 3) loop_.stop();
  }));
  ready.signal();
  run();
  EXPECT_EQ(calls, 3);
}

TEST_F(EventLoopTest, HandlerMayRemoveItself) {
  const EventFd ready = event();
  // Captured by value, so that a handler freed too early is seen by the sanitizers.
  const std::vector<int> payload(100, 7);
  int sum = 0;
  ASSERT_TRUE(loop_.add(ready.fd(), EPOLLIN, [&, payload](uint32_t) {
    loop_.remove(ready.fd());
    for (const int value : payload) sum += value;
    loop_.call_after(milliseconds(1), [&] { loop_.stop(); });
  }));
  ready.signal();
  run();
  EXPECT_EQ(sum, 700);
}

TEST_F(EventLoopTest, HandlerRemovedInTheSameRoundIsNotCalled) {
  const EventFd first = event(), second = event();
  int calls = 0;
  const auto handler = [&](int other) {
    return [&, other](uint32_t) {
      ++calls;
      loop_.remove(other);
      loop_.stop();
    };
  };
  ASSERT_TRUE(loop_.add(first.fd(), EPOLLIN, handler(second.fd())));
  ASSERT_TRUE(loop_.add(second.fd(), EPOLLIN, handler(first.fd())));
  first.signal();
  second.signal();
  run();
  EXPECT_EQ(calls, 1);
}

// The number of a closed descriptor is used again at once; its old event is not the new one's.
TEST_F(EventLoopTest, NewUserOfADescriptorNumberGetsNoOldEvent) {
  const EventFd trigger = event();
  EventFd old = event();
  const int number = old.fd();
  EventFd replacement;
  int wrong_calls = 0;
  const auto replace = [&](uint32_t) {
    trigger.consume();
    loop_.remove(number);
    old = EventFd();
    replacement = event();
    ASSERT_EQ(replacement.fd(), number);
    ASSERT_TRUE(loop_.add(number, EPOLLIN, [&](uint32_t) { ++wrong_calls; }));
    loop_.call_after(milliseconds(1), [&] { loop_.stop(); });
  };
  ASSERT_TRUE(loop_.add(trigger.fd(), EPOLLIN, replace));
  ASSERT_TRUE(loop_.add(number, EPOLLIN, [](uint32_t) {}));
  trigger.signal();
  old.signal();
  run();
  EXPECT_EQ(wrong_calls, 0);
}

TEST_F(EventLoopTest, ModifyChangesWhatIsWaitedFor) {
  const EventFd ready = event();
  uint32_t seen = 0;
  ASSERT_TRUE(loop_.add(ready.fd(), EPOLLIN, [&](uint32_t events) {
    seen = events;
    loop_.stop();
  }));
  ASSERT_TRUE(loop_.modify(ready.fd(), EPOLLOUT));
  run();
  EXPECT_EQ(seen, static_cast<uint32_t>(EPOLLOUT));
}

TEST_F(EventLoopTest, AddingTwiceOrModifyingNothingFails) {
  const EventFd ready = event();
  EXPECT_FALSE(loop_.modify(ready.fd(), EPOLLIN));
  ASSERT_TRUE(loop_.add(ready.fd(), EPOLLIN, [](uint32_t) {}));
  EXPECT_FALSE(loop_.add(ready.fd(), EPOLLIN, [](uint32_t) {}));
  loop_.remove(ready.fd());
  loop_.remove(ready.fd());
  EXPECT_TRUE(loop_.add(ready.fd(), EPOLLIN, [](uint32_t) {}));
}

TEST_F(EventLoopTest, TimersRunInOrderOfTheirTime) {
  std::vector<int> order;
  loop_.call_after(milliseconds(4), [&] {
    order.push_back(2);
    loop_.stop();
  });
  loop_.call_after(milliseconds(1), [&] { order.push_back(1); });
  run();
  EXPECT_EQ(order, (std::vector{1, 2}));
}

TEST_F(EventLoopTest, CancelledTimerDoesNotRun) {
  bool ran = false;
  const uint64_t timer = loop_.call_after(milliseconds(1), [&] { ran = true; });
  loop_.cancel(timer);
  loop_.cancel(timer);
  loop_.cancel(12345);
  loop_.call_after(milliseconds(5), [&] { loop_.stop(); });
  run();
  EXPECT_FALSE(ran);
}

TEST_F(EventLoopTest, TimerMayStartAndCancelOthers) {
  bool ran = false;
  const uint64_t victim = loop_.call_after(milliseconds(2), [&] { ran = true; });
  loop_.call_after(milliseconds(0), [&] {
    loop_.cancel(victim);
    loop_.call_after(milliseconds(4), [&] { loop_.stop(); });
  });
  run();
  EXPECT_FALSE(ran);
}

TEST_F(EventLoopTest, StopFromAnotherThreadAndRunAgain) {
  for (int round = 0; round < 3; ++round) {
    std::thread other([&] { loop_.stop(); });
    run();
    other.join();
  }
}

TEST_F(EventLoopTest, StopBeforeRunIsRemembered) {
  loop_.stop();
  loop_.stop();
  run();
}

TEST_F(EventLoopTest, HangUpIsReportedUnasked) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const UniqueFd reading(pipe[0]);
  UniqueFd writing(pipe[1]);
  uint32_t seen = 0;
  ASSERT_TRUE(loop_.add(reading.get(), 0, [&](uint32_t events) {
    seen = events;
    loop_.stop();
  }));
  writing.reset();
  run();
  EXPECT_EQ(seen, static_cast<uint32_t>(EPOLLHUP));
}

TEST(EventFd, SignalsAddUpToOne) {
  const EventFd event = std::move(*EventFd::create());
  EXPECT_FALSE(event.consume());
  event.signal();
  event.signal();
  EXPECT_TRUE(event.consume());
  EXPECT_FALSE(event.consume());
}

}  // namespace
}  // namespace hull
