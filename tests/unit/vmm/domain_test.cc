#include "vmm/domain.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <random>
#include <thread>

#include "tests/support/small_domain.h"
#include "tests/support/temporary_directory.h"

// liburing maps and unmaps its rings by system calls that the thread sanitizer does not see: a ring
// that comes to lie where another domain's lay looks shared.
extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() { return "race:liburing.h\n"; }

namespace hull::vmm {
namespace {

using hull::testing::ObservedDomain;
using hull::testing::run_loop_until;
using hull::testing::small_domain;
using enum DomainState;

constexpr const char* kEndless = "hull.end=hang";

class DomainTest : public ::testing::Test {
 protected:
  EventLoop loop_ = std::move(*EventLoop::create());
};

TEST_F(DomainTest, LifeOfAGuestThatSwitchesItselfOff) {
  ObservedDomain domain(loop_, small_domain("hull.do=facts"));
  EXPECT_EQ(domain->state(), kBuilding);
  EXPECT_TRUE(domain.run_to_end());
  EXPECT_EQ(domain.states, (std::vector{kRunning, kEnding, kEnded}));
  EXPECT_EQ(domain->reason().kind, EndKind::kPowerOff);
}

TEST_F(DomainTest, EndIsObeyedWhateverTheGuestDoes) {
  for (const unsigned vcpus : {1u, 3u}) {
    ObservedDomain domain(loop_, small_domain(kEndless, vcpus));
    ASSERT_TRUE(domain->start());
    domain->end({.kind = EndKind::kForced, .detail = "first"});
    domain->end({.kind = EndKind::kTimeout, .detail = "second"});
    EXPECT_TRUE(domain.reaches(kEnded));
    EXPECT_EQ(domain->reason().detail, "first");
  }
}

TEST_F(DomainTest, PauseAndResumeAreAcknowledgedAndTheGuestNoticesNothing) {
  ObservedDomain domain(loop_, small_domain("hull.do=rng,bytes=4096;smp,ms=200;rng,bytes=4096", 2));
  ASSERT_TRUE(domain->start());
  int pauses = 0;
  while (!domain.ended()) {
    if (!domain->pause()) break;
    ASSERT_TRUE(domain->pause()) << "a second time does nothing";
    ASSERT_TRUE(run_loop_until(loop_, [&] { return domain->state() != kRunning; }));
    if (domain->state() != kPaused) break;
    ++pauses;
    ASSERT_TRUE(domain->resume());
    EXPECT_EQ(domain->state(), kRunning);
  }
  EXPECT_TRUE(domain.reaches(kEnded));
  EXPECT_EQ(domain->reason().kind, EndKind::kPowerOff);
  EXPECT_GT(pauses, 0);
}

// Two disks, and what the guest says in a file.
class BusyDomainTest : public DomainTest {
 protected:
  config::DomainConfig busy_domain(const std::string& cmdline) {
    auto config = small_domain(cmdline, 2);
    for (const char* target : {"vda", "vdb"}) {
      config::DiskConfig disk;
      disk.target = target;
      disk.file = directory_ / target;
      std::ofstream(disk.file) << std::string(4u << 20, '\0');
      config.disks.push_back(disk);
    }
    config.console->kind = config::ConsoleKind::kFile;
    config.console->path = directory_ / "console";
    return config;
  }
  std::string console() const {
    std::ifstream file(directory_ / "console");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  const hull::testing::TemporaryDirectory directory_;
};

TEST_F(BusyDomainTest, NothingIsLostInPauses) {
  ObservedDomain domain(loop_,
                        busy_domain("hull.do=blk.fill,seed=5;blk.fill,dev=1,seed=6;blk.flush;"
                                    "blk.verify,seed=5;blk.verify,dev=1,seed=6;rng,bytes=4096"));
  ASSERT_TRUE(domain->start());
  EXPECT_GT(domain.pause_again_and_again(std::chrono::milliseconds(2)), 3);
  ASSERT_TRUE(domain.reaches(kEnded));
  EXPECT_EQ(domain->reason().kind, EndKind::kPowerOff);
  EXPECT_NE(console().find("end by=auto failed=0"), std::string::npos) << console();
  EXPECT_TRUE(domain->close());
}

// Saved, taken down, built anew and taken up, several times in the middle of its work.
TEST_F(BusyDomainTest, GuestGoesOnInAnotherMachineWhereItWasSaved) {
  auto config = busy_domain(
      "hull.do=blk.fill,seed=5;rng,bytes=4096;blk.fill,dev=1,seed=6;"
      "blk.flush;blk.verify,seed=5;blk.verify,dev=1,seed=6;smp,ms=50");
  config.console->append = true;
  std::vector<uint8_t> saved;
  int moves = 0;
  for (bool ended = false; !ended; ++moves) {
    ObservedDomain domain(loop_, config);
    ASSERT_TRUE(domain.exists());
    if (saved.empty()) {
      ASSERT_TRUE(domain->start());
    } else {
      const auto restored = domain->restore(saved);
      ASSERT_TRUE(restored) << restored.error().message();
      EXPECT_EQ(domain->state(), kPaused);
      ASSERT_TRUE(domain->resume());
    }
    // Ever longer, so that it comes to an end.
    loop_.call_after(std::chrono::milliseconds(5 + 10 * moves), [&] { loop_.stop(); });
    ASSERT_TRUE(loop_.run());
    if (domain->pause()) {
      ASSERT_TRUE(run_loop_until(loop_, [&] { return domain->state() != kRunning; }));
    }
    if (domain->state() == kPaused) {
      auto state = domain->save();
      ASSERT_TRUE(state) << state.error().message();
      saved = std::move(*state);
      domain->end({});
    }
    ASSERT_TRUE(domain.reaches(kEnded));
    ended = domain->reason().kind == EndKind::kPowerOff;
    ASSERT_TRUE(ended || domain->reason().kind == EndKind::kForced) << domain->reason().detail;
    ASSERT_TRUE(domain->close());
    ASSERT_LT(moves, 500);
  }
  EXPECT_GT(moves, 2);
  EXPECT_NE(console().find("end by=auto failed=0"), std::string::npos) << console();
}

TEST_F(BusyDomainTest, DamagedStateIsRefused) {
  std::vector<uint8_t> saved;
  {
    ObservedDomain domain(loop_, busy_domain("hull.end=hang"));
    EXPECT_FALSE(domain->save()) << "it is not paused";
    ASSERT_TRUE(domain->start());
    ASSERT_TRUE(domain->pause());
    ASSERT_TRUE(domain.reaches(kPaused));
    saved = domain->save().value();
    domain->end({});
    ASSERT_TRUE(domain.reaches(kEnded));
    ASSERT_TRUE(domain->close());
  }
  saved.resize(saved.size() - 1);
  ObservedDomain domain(loop_, busy_domain("hull.end=hang"));
  EXPECT_FALSE(domain->restore(saved));
  EXPECT_TRUE(domain->close());
}

TEST_F(BusyDomainTest, OrdersAtAnyMomentUnderLoad) {
  for (unsigned seed = 0; seed < 4; ++seed) {
    std::minstd_rand dice(seed + 1);
    ObservedDomain domain(
        loop_, busy_domain("hull.do=bench.blk,op=write,depth=16,ms=600000 hull.end=hang"));
    ASSERT_TRUE(domain->start());
    for (int step = 0; step < 30; ++step) {
      switch (dice() % 4) {
        case 0: static_cast<void>(domain->pause().has_value()); break;
        case 1: static_cast<void>(domain->resume().has_value()); break;
        case 2:
          if (dice() % 4 == 0) domain->reset();
          break;
        default: break;
      }
      loop_.call_after(std::chrono::milliseconds(dice() % 8), [&] { loop_.stop(); });
      ASSERT_TRUE(loop_.run());
    }
    domain->end({.kind = EndKind::kForced});
    ASSERT_TRUE(domain.reaches(kEnded)) << "seed " << seed;
    EXPECT_TRUE(domain->close());
  }
}

TEST_F(DomainTest, PausedMachineStandsStill) {
  ObservedDomain domain(loop_, small_domain("hull.do=facts"));
  ASSERT_TRUE(domain->start());
  ASSERT_TRUE(domain->pause());
  ASSERT_TRUE(domain.reaches(kPaused));
  loop_.call_after(std::chrono::milliseconds(300), [&] { loop_.stop(); });
  ASSERT_TRUE(loop_.run());
  EXPECT_EQ(domain->state(), kPaused);
  ASSERT_TRUE(domain->resume());
  EXPECT_TRUE(domain.reaches(kEnded));
}

TEST_F(DomainTest, WhatCannotBeDoneIsAnErrorThatNamesTheState) {
  ObservedDomain domain(loop_, small_domain(kEndless));
  EXPECT_FALSE(domain->pause());
  ASSERT_TRUE(domain->start());
  const auto resumed = domain->resume();
  ASSERT_FALSE(resumed);
  EXPECT_NE(resumed.error().message().find("running"), std::string::npos);
  domain->end({});
  ASSERT_TRUE(domain.reaches(kEnded));
  EXPECT_FALSE(domain->pause());
  EXPECT_FALSE(domain->resume());
  domain->end({});
  domain->power_button();
  domain->reset();
  EXPECT_EQ(domain->state(), kEnded);
}

TEST_F(DomainTest, EndOfAPausedMachine) {
  ObservedDomain domain(loop_, small_domain(kEndless, 2));
  ASSERT_TRUE(domain->start());
  ASSERT_TRUE(domain->pause());
  ASSERT_TRUE(domain.reaches(kPaused));
  domain->power_button();
  EXPECT_TRUE(domain.reaches(kEnded));
  EXPECT_EQ(domain->reason().kind, EndKind::kForced);
}

TEST_F(DomainTest, ResetBuildsANewMachine) {
  const hull::testing::TemporaryDirectory directory;
  auto config = small_domain("hull.do=reboot,times=2");
  config.disks.emplace_back();
  config.disks[0].target = "vda";
  config.disks[0].file = directory / "disk.raw";
  std::ofstream(config.disks[0].file) << std::string(65536, '\0');
  ObservedDomain domain(loop_, std::move(config));
  EXPECT_TRUE(domain.run_to_end());
  EXPECT_EQ(std::ranges::count(domain.states, kBuilding), 2);
  EXPECT_EQ(domain->reason().kind, EndKind::kPowerOff);
}

TEST_F(DomainTest, ResetFromOutsideDoesTheSame) {
  ObservedDomain domain(loop_, small_domain(kEndless));
  ASSERT_TRUE(domain->start());
  domain->reset();
  ASSERT_TRUE(run_loop_until(
      loop_, [&] { return domain.states.size() >= 4 && domain->state() == kRunning; }));
  EXPECT_EQ(domain.states, (std::vector{kRunning, kEnding, kBuilding, kRunning}));
  domain->end({});
  EXPECT_TRUE(domain.reaches(kEnded));
}

TEST_F(DomainTest, PreservedMachineWaitsForItsEndAndKeepsItsReason) {
  auto config = small_domain("hull.end=triple-fault", 2);
  config.on_crash = config::LifecycleAction::kPreserve;
  ObservedDomain domain(loop_, std::move(config));
  ASSERT_TRUE(domain->start());
  ASSERT_TRUE(domain.reaches(kPreserved));
  EXPECT_EQ(domain.states, (std::vector{kRunning, kEnding, kPreserved}));
  domain->power_button();
  ASSERT_TRUE(domain.reaches(kEnded));
  EXPECT_EQ(domain->reason().kind, EndKind::kGuestCrash);
}

TEST_F(DomainTest, StartCanBeCalledOff) {
  std::stop_source source;
  source.request_stop();
  const auto config = small_domain("hull.do=facts");
  EXPECT_FALSE(Domain::create(loop_, config, {.cancel = source.get_token()}));
}

TEST_F(DomainTest, UnstartedDomainCanBeDropped) {
  ObservedDomain domain(loop_, small_domain("hull.do=facts"));
  EXPECT_TRUE(domain->close());
}

TEST_F(DomainTest, FiftyDomainsOnOneLoop) {
  std::vector<std::unique_ptr<ObservedDomain>> domains;
  for (int i = 0; i < 50; ++i) {
    domains.push_back(std::make_unique<ObservedDomain>(loop_, small_domain("hull.do=facts")));
    ASSERT_TRUE(domains.back()->exists());
  }
  for (auto& domain : domains) ASSERT_TRUE((*domain)->start());
  EXPECT_TRUE(run_loop_until(loop_, [&] {
    return std::ranges::all_of(domains, [](const auto& domain) { return domain->ended(); });
  }));
  for (auto& domain : domains) EXPECT_EQ((*domain)->reason().kind, EndKind::kPowerOff);
}

TEST_F(DomainTest, EndAndFaultOfOneDoNotTouchTheOther) {
  ObservedDomain survivor(loop_, small_domain(kEndless));
  ASSERT_TRUE(survivor->start());
  {
    ObservedDomain crashing(loop_, small_domain("hull.end=triple-fault"));
    EXPECT_TRUE(crashing.run_to_end());
    EXPECT_EQ(crashing->reason().kind, EndKind::kGuestCrash);
  }
  EXPECT_EQ(survivor->state(), kRunning);
  ASSERT_TRUE(survivor->pause());
  ASSERT_TRUE(survivor.reaches(kPaused));
  ASSERT_TRUE(survivor->resume());
  survivor->end({});
  EXPECT_TRUE(survivor.reaches(kEnded));
}

TEST(Domains, LoopsOfTheirOwnAndAllSignalsBlocked) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([] {
      EventLoop loop = std::move(*EventLoop::create());
      ObservedDomain polite(loop, small_domain("hull.do=facts", 2));
      EXPECT_TRUE(polite.run_to_end());
      ObservedDomain deaf(loop, small_domain(kEndless, 2));
      EXPECT_TRUE(deaf->start());
      deaf->end({});
      EXPECT_TRUE(deaf.reaches(kEnded));
    });
  for (std::thread& thread : threads) thread.join();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST(Domains, NoSignalDispositionIsTouched) {
  struct sigaction before{}, after{};
  static int calls = 0;
  ::signal(SIGRTMIN, [](int) { ++calls; });
  ::sigaction(SIGRTMIN, nullptr, &before);
  EventLoop loop = std::move(*EventLoop::create());
  ObservedDomain domain(loop, small_domain(kEndless));
  ASSERT_TRUE(domain->start());
  domain->end({});
  EXPECT_TRUE(domain.reaches(kEnded));
  ::sigaction(SIGRTMIN, nullptr, &after);
  EXPECT_EQ(before.sa_handler, after.sa_handler);
  EXPECT_EQ(calls, 0);
  ::signal(SIGRTMIN, SIG_DFL);
}

}  // namespace
}  // namespace hull::vmm
