#include "blockcore/async/gate.h"

#include <gtest/gtest.h>

#include <optional>

#include "tests/support/run_now.h"

namespace hull::blockcore {
namespace {

using testing::run_now;

struct GateTest : ::testing::Test {
  Gate gate;
  WaitList io;
  std::optional<Gate::Closed> closed;

  Task<int> wait_for_io() {
    co_await io.wait();
    co_return 7;
  }
  void begin_to_close() {
    start_detached([](GateTest& test) -> Task<void> {
      test.closed.emplace(co_await test.gate.close());
    }(*this));
  }
};

TEST_F(GateTest, ClosesWhenWhoIsInsideHasEnded) {
  std::optional<int> value;
  start_detached([](GateTest& test, std::optional<int>& out) -> Task<void> {
    const Gate::Pass pass(test.gate);
    out = co_await test.wait_for_io();
  }(*this, value));
  start_detached([](GateTest& test, std::optional<int>& out) -> Task<void> {
    *out += co_await test.gate.count(test.wait_for_io());
  }(*this, value));
  begin_to_close();
  EXPECT_FALSE(gate.is_open());
  EXPECT_FALSE(closed);
  io.wake_all();
  EXPECT_TRUE(closed);
  EXPECT_EQ(value, 14);
  closed.reset();
  EXPECT_TRUE(gate.is_open());
}

// As a disk that flushes after each write does: the write's task is still there.
TEST_F(GateTest, WhoHasEndedIsOutsideThoughHisTaskLives) {
  bool passed = false;
  start_detached([](GateTest& test, Task<int> request, bool& done) -> Task<void> {
    (void)co_await request;
    while (!test.gate.is_open()) co_await test.gate.wait();
    done = true;
  }(*this, gate.count(wait_for_io()), passed));
  begin_to_close();
  io.wake_all();
  ASSERT_TRUE(closed);
  EXPECT_FALSE(passed);
  closed.reset();
  EXPECT_TRUE(passed);
}

TEST_F(GateTest, RequestThatNeverBeginsIsOutsideAgain) {
  {
    const Task<int> dropped = gate.count(wait_for_io());
  }
  closed.emplace(run_now(gate.close()));
}

TEST_F(GateTest, WaitersBeginWhenItOpens) {
  closed.emplace(run_now(gate.close()));
  unsigned begun = 0;
  for (unsigned i = 0; i < 3; ++i)
    start_detached([](GateTest& test, unsigned& count) -> Task<void> {
      while (!test.gate.is_open()) co_await test.gate.wait();
      ++count;
    }(*this, begun));
  EXPECT_EQ(begun, 0U);
  closed.reset();
  EXPECT_EQ(begun, 3U);
}

}  // namespace
}  // namespace hull::blockcore
