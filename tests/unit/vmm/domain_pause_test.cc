// Pausing, preserving and ending a machine whose disk is on a server that does not answer.
#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <iterator>

#include "tests/support/held_server.h"
#include "tests/support/small_domain.h"
#include "tests/support/temporary_directory.h"
#include "vmm/domain.h"

namespace hull::vmm {
namespace {

using hull::testing::HeldServer;
using hull::testing::ObservedDomain;
using hull::testing::run_loop_until;
using hull::testing::small_domain;
using enum DomainState;
using namespace std::chrono_literals;

constexpr const char* kEndlessReads = "hull.do=bench.blk,op=read,depth=8,ms=600000 hull.end=hang";
constexpr const char* kFillAndVerify =
    "hull.do=blk.fill,seed=5;blk.flush;blk.verify,seed=5;blk.fill,seed=6;blk.verify,seed=6";
// More than ordering an end may take; less than what is waited for here.
constexpr auto kAtOnce = 5s;

class StalledDiskTest : public ::testing::Test {
 protected:
  config::DomainConfig stalled_domain(const std::string& cmdline) {
    auto config = small_domain(cmdline, 2);
    config.disks.emplace_back();
    config.disks[0].target = "vda";
    config.disks[0].file = server_.url();
    config.console->kind = config::ConsoleKind::kFile;
    config.console->path = directory_ / "console";
    return config;
  }
  // The guest is in the middle of its work, and the server has requests that it does not answer.
  void stall(ObservedDomain& domain) {
    ASSERT_TRUE(domain->start());
    ASSERT_TRUE(run_loop_until(loop_, [&] { return server_.requests() > 8; }));
    server_.hold();
    ASSERT_TRUE(run_loop_until(loop_, [&] { return server_.held_requests() != 0; }));
  }
  void run_for(std::chrono::milliseconds time) {
    loop_.call_after(time, [this] { loop_.stop(); });
    ASSERT_TRUE(loop_.run());
  }
  void expect_end_at_once(ObservedDomain& domain) {
    const auto before = std::chrono::steady_clock::now();
    domain->end({.kind = EndKind::kForced, .detail = "enough"});
    EXPECT_TRUE(domain.reaches(kEnded));
    EXPECT_LT(std::chrono::steady_clock::now() - before, kAtOnce);
  }
  std::string console() const {
    std::ifstream file(directory_ / "console");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  EventLoop loop_ = std::move(*EventLoop::create());
  const hull::testing::TemporaryDirectory directory_;
  HeldServer server_{1 << 20};
};

TEST_F(StalledDiskTest, PauseIsAnErrorAfterItsTimeAndTheGuestRunsOn) {
  ObservedDomain domain(loop_, stalled_domain(kFillAndVerify), {.pause_patience = 200ms});
  stall(domain);
  std::vector<Result<void>> answers;
  const auto keep = [&](const Result<void>& result) { answers.push_back(result); };
  const auto before = std::chrono::steady_clock::now();
  ASSERT_TRUE(domain->pause(keep));
  ASSERT_TRUE(domain->pause(keep)) << "answered together with the first";
  ASSERT_TRUE(run_loop_until(loop_, [&] { return !answers.empty(); }));
  EXPECT_LT(std::chrono::steady_clock::now() - before, kAtOnce);
  ASSERT_EQ(answers.size(), 2U);
  ASSERT_FALSE(answers[0]);
  EXPECT_EQ(answers[0].error().kind(), ErrorKind::kTimeout);
  EXPECT_NE(answers[0].error().message().find("vda"), std::string::npos)
      << answers[0].error().message();
  EXPECT_EQ(domain.states, std::vector{kRunning});
  server_.answer();
  EXPECT_TRUE(domain.reaches(kEnded));
  EXPECT_EQ(domain->reason().kind, EndKind::kPowerOff);
  EXPECT_NE(console().find("end by=auto failed=0"), std::string::npos) << console();
  EXPECT_TRUE(domain->close());
}

TEST_F(StalledDiskTest, PauseIsPossibleOnceTheDiskAnswersAgain) {
  ObservedDomain domain(loop_, stalled_domain(kFillAndVerify), {.pause_patience = 100ms});
  stall(domain);
  bool failed = false;
  ASSERT_TRUE(domain->pause([&](const Result<void>& result) { failed = !result; }));
  ASSERT_TRUE(run_loop_until(loop_, [&] { return failed; }));
  bool paused = false;
  while (!paused) {
    bool answered = false;
    ASSERT_TRUE(domain->pause([&](const Result<void>& result) {
      answered = true;
      paused = result.has_value();
    }));
    server_.answer();
    ASSERT_TRUE(run_loop_until(loop_, [&] { return answered; }));
  }
  EXPECT_EQ(domain->state(), kPaused);
  const unsigned requests = server_.requests();
  run_for(50ms);
  EXPECT_EQ(server_.requests(), requests) << "the devices stand still as well";
  ASSERT_TRUE(domain->resume());
  EXPECT_TRUE(domain.reaches(kEnded));
  EXPECT_NE(console().find("end by=auto failed=0"), std::string::npos) << console();
  EXPECT_TRUE(domain->close());
}

TEST_F(StalledDiskTest, EndInTheMiddleOfAPause) {
  ObservedDomain domain(loop_, stalled_domain(kEndlessReads), {.pause_patience = 1h});
  stall(domain);
  std::vector<Result<void>> answers;
  ASSERT_TRUE(domain->pause([&](const Result<void>& result) { answers.push_back(result); }));
  run_for(50ms);
  EXPECT_EQ(domain->state(), kRunning);
  EXPECT_TRUE(answers.empty());
  expect_end_at_once(domain);
  EXPECT_EQ(domain->reason().detail, "enough");
  ASSERT_EQ(answers.size(), 1U);
  EXPECT_EQ(answers[0].error().kind(), ErrorKind::kUnsupported);
}

class PreservedTest : public StalledDiskTest {
 protected:
  config::DomainConfig preserving_domain() {
    auto config = stalled_domain(kEndlessReads);
    config.on_reboot = config::LifecycleAction::kPreserve;
    return config;
  }
};

TEST_F(PreservedTest, WhatIsInFlightIsAnsweredAndNothingMoreIsTaken) {
  ObservedDomain domain(loop_, preserving_domain());
  stall(domain);
  domain->reset();
  run_for(100ms);
  EXPECT_EQ(domain->state(), kEnding) << "requests are in flight";
  server_.answer();
  ASSERT_TRUE(domain.reaches(kPreserved));
  EXPECT_EQ(domain.states, (std::vector{kRunning, kEnding, kPreserved}));
  const unsigned requests = server_.requests();
  run_for(50ms);
  EXPECT_EQ(server_.requests(), requests);
  expect_end_at_once(domain);
  EXPECT_EQ(domain->reason().kind, EndKind::kReset) << "why it is kept stays the reason";
  EXPECT_TRUE(domain->close());
}

TEST_F(PreservedTest, DiskThatDoesNotAnswerKeepsNothingUp) {
  ObservedDomain domain(loop_, preserving_domain(), {.pause_patience = 100ms});
  stall(domain);
  domain->reset();
  ASSERT_TRUE(domain.reaches(kPreserved));
  const unsigned requests = server_.requests();
  server_.answer();
  run_for(50ms);
  EXPECT_EQ(server_.requests(), requests) << "nothing more is taken";
  expect_end_at_once(domain);
}

TEST_F(PreservedTest, EndWhileItStillPausesAndWhileItIsKeptWithAStalledDisk) {
  for (const auto patience : {std::chrono::milliseconds(1h), 50ms}) {
    ObservedDomain domain(loop_, preserving_domain(), {.pause_patience = patience});
    stall(domain);
    domain->reset();
    ASSERT_TRUE(domain.reaches(patience == 50ms ? kPreserved : kEnding));
    run_for(20ms);
    expect_end_at_once(domain);
    server_.answer();
  }
}

}  // namespace
}  // namespace hull::vmm
