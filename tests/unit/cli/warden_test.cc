#include "tools/hull/warden.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <new>
#include <thread>
#include <vector>

#include "tools/hull/exit_code.h"

namespace hull::cli {
namespace {

using namespace std::chrono_literals;

bool comes_true(const std::function<bool()>& condition) {
  const auto deadline = Warden::Clock::now() + 60s;
  while (!condition() && Warden::Clock::now() < deadline) std::this_thread::sleep_for(1ms);
  return condition();
}

// Each test in a child: signals and their masks are the process's.
template <class Body>
void expect_exit(int code, Body body) {
  EXPECT_EXIT(
      {
        body();
        ::_exit(99);
      },
      ::testing::ExitedWithCode(code), "");
}

TEST(WardenDeathTest, SignalCallsTheStartOff) {
  expect_exit(0, [] {
    const auto warden = std::move(*Warden::start({}));
    ::kill(::getpid(), SIGTERM);
    if (!comes_true([&] { return warden->start_called_off().stop_requested(); })) return;
    if (warden->order()->kind == vmm::EndKind::kForced) ::_exit(0);
  });
}

TEST(WardenDeathTest, StartThatDoesNotListenIsLeftWithTheCodeOfTheOrder) {
  for (const bool by_clock : {false, true}) {
    expect_exit(by_clock ? kExitTimeout : kExitForced, [by_clock] {
      Warden::Limits limits;
      if (by_clock) limits.timeout = 0s;
      const auto warden = std::move(*Warden::start(limits));
      if (!by_clock) ::kill(::getpid(), SIGINT);
      std::this_thread::sleep_for(60s);
    });
  }
}

TEST(WardenDeathTest, LastDutyIsDoneBeforeLeaving) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  expect_exit(kExitForced, [&] {
    const auto warden = std::move(*Warden::start({}));
    warden->set_last_duty([&] { static_cast<void>(!::write(ends[1], "d", 1)); });
    ::kill(::getpid(), SIGTERM);
    std::this_thread::sleep_for(60s);
  });
  char byte = 0;
  EXPECT_EQ(::read(ends[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'd');
}

// As operator new does when there is nothing to be had, on a thread that nobody looks after.
TEST(WardenDeathTest, LackOfMemoryEndsItWithALineAndAfterTheLastDuty) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EXPECT_EXIT(
      {
        const auto warden = std::move(*Warden::start({}));
        warden->set_last_duty([&] { static_cast<void>(!::write(ends[1], "d", 1)); });
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i) threads.emplace_back([] { std::get_new_handler()(); });
        std::this_thread::sleep_for(60s);
      },
      ::testing::ExitedWithCode(kExitHost), "error: out of memory: look at 'ulimit -v'");
  char byte = 0;
  EXPECT_EQ(::read(ends[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'd');
}

TEST(WardenDeathTest, IgnoredHangupIsNotHeard) {
  expect_exit(0, [] {
    ::signal(SIGHUP, SIG_IGN);
    const auto warden = std::move(*Warden::start({}));
    ::kill(::getpid(), SIGHUP);
    std::this_thread::sleep_for(200ms);
    if (!warden->order()) ::_exit(0);
  });
}

TEST(WardenDeathTest, SignalsThatComeLateEndNothing) {
  expect_exit(0, [] {
    {
      const auto warden = std::move(*Warden::start({}));
    }
    ::kill(::getpid(), SIGTERM);
    ::_exit(0);
  });
}

TEST(WardenDeathTest, ProcessThatGoesOnGetsItsSignalsBack) {
  EXPECT_EXIT(
      {
        {
          Warden::Limits limits;
          limits.process_goes_on = true;
          const auto warden = std::move(*Warden::start(limits));
        }
        ::kill(::getpid(), SIGTERM);
        ::_exit(99);
      },
      ::testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace hull::cli
