// The same machine with everything on one I/O thread, and with a thread for each.
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <semaphore>
#include <set>

#include "blockcore/engine/engine_reactor.h"
#include "blockcore/engine/io_thread.h"
#include "tests/support/small_domain.h"
#include "tests/support/temporary_directory.h"
#include "virtio/worker_thread.h"
#include "vmm/domain.h"

namespace hull::vmm {
namespace {

using hull::testing::ObservedDomain;
using hull::testing::run_loop_until;
using hull::testing::small_domain;
using enum DomainState;

std::multiset<std::string> thread_names() {
  std::multiset<std::string> names;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "comm");
    std::string name;
    if (std::getline(file, name)) names.insert(name);
  }
  return names;
}

class DomainThreadsTest : public ::testing::TestWithParam<bool> {
 protected:
  config::DomainConfig busy_domain(const std::string& cmdline) {
    auto config = small_domain(cmdline, 2);
    for (const char* target : {"vda", "vdb"}) {
      config.disks.emplace_back();
      config.disks.back().target = target;
      config.disks.back().file = directory_ / target;
      std::ofstream(config.disks.back().file) << std::string(2u << 20, '\0');
    }
    config.networks.emplace_back();
    config.networks.back().kind = config::NetworkKind::kNull;
    config.console->kind = config::ConsoleKind::kFile;
    config.console->path = directory_ / "console";
    return config;
  }
  std::string console() const {
    std::ifstream file(directory_ / "console");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  EventLoop loop_ = std::move(*EventLoop::create());
  const hull::testing::TemporaryDirectory directory_;
};

TEST_P(DomainThreadsTest, EverythingIsServedAndPauses) {
  ObservedDomain domain(loop_,
                        busy_domain("hull.do=blk.fill,seed=5;rng,bytes=64K;blk.fill,dev=1,seed=6;"
                                    "blk.flush;blk.verify,seed=5;blk.verify,dev=1,seed=6;"
                                    "rng,bytes=64K;smp,ms=50"),
                        {.one_io_thread = GetParam()});
  ASSERT_TRUE(domain->start());
  const auto names = thread_names();
  EXPECT_EQ(names.count("block"), 1U);
  EXPECT_EQ(names.count("rng"), GetParam() ? 0U : 1U);
  EXPECT_EQ(names.count("net0"), GetParam() ? 0U : 1U);
  EXPECT_GT(domain.pause_again_and_again(std::chrono::milliseconds(3)), 0);
  ASSERT_TRUE(domain.reaches(kEnded));
  EXPECT_EQ(domain->reason().kind, EndKind::kPowerOff);
  EXPECT_NE(console().find("end by=auto failed=0"), std::string::npos) << console();
  EXPECT_TRUE(domain->close());
}

TEST_P(DomainThreadsTest, ResetsAndEndsUnderLoad) {
  auto config = busy_domain("hull.do=bench.blk,op=write,depth=16,ms=600000 hull.end=hang");
  ObservedDomain domain(loop_, std::move(config), {.one_io_thread = GetParam()});
  ASSERT_TRUE(domain->start());
  for (int resets = 1; resets <= 3; ++resets) {
    loop_.call_after(std::chrono::milliseconds(20), [&] { loop_.stop(); });
    ASSERT_TRUE(loop_.run());
    const size_t before = domain.states.size();
    domain->reset();
    ASSERT_TRUE(run_loop_until(loop_, [&] { return domain.states.size() == before + 3; }));
    ASSERT_EQ(domain->state(), kRunning);
  }
  domain->end({});
  EXPECT_TRUE(domain.reaches(kEnded));
  EXPECT_TRUE(domain->close());
}

TEST_P(DomainThreadsTest, DisksAreOnTheThreadsThatTheyName) {
  auto config = busy_domain(
      "hull.do=blk.fill,seed=5;blk.fill,dev=1,seed=6;blk.flush;"
      "blk.verify,seed=5;blk.verify,dev=1,seed=6");
  config.disks[0].iothread = 1;
  config.disks[1].iothread = 7;
  ObservedDomain domain(loop_, std::move(config), {.one_io_thread = GetParam()});
  ASSERT_TRUE(domain->start());
  const auto names = thread_names();
  for (const char* name : {"block", "io1", "io7"}) EXPECT_EQ(names.count(name), 1U) << name;
  if (domain->pause()) {
    ASSERT_TRUE(run_loop_until(loop_, [&] { return domain->state() != kRunning; }));
  }
  if (domain->state() == kPaused) {
    EXPECT_TRUE(domain->resume());
  }
  ASSERT_TRUE(domain.reaches(kEnded));
  EXPECT_NE(console().find("end by=auto failed=0"), std::string::npos) << console();
  EXPECT_TRUE(domain->close());
}

// Control, console and timers of two domains as guests of an engine's thread, beside whatever that
// serves: which thread runs a loop is for whoever makes it to say.
TEST(DomainOnAnEngine, LoopsAreGuestsOfItsThread) {
  auto io = std::move(*blockcore::IoThread::create());
  ASSERT_TRUE(io->start("events"));
  blockcore::EngineReactor reactor(io->engine());
  {
    auto worker = std::move(*virtio::WorkerThread::create_on(reactor));
    std::vector<std::unique_ptr<ObservedDomain>> domains;
    std::binary_semaphore ended{0};
    std::atomic<int> running{2};
    worker->call([&] {
      for (int i = 0; i < 2; ++i) {
        auto domain =
            std::make_unique<ObservedDomain>(worker->loop(), small_domain("hull.do=rng,bytes=4K"));
        ASSERT_TRUE(domain->exists());
        (*domain)->on_event([&](DomainState state) {
          if (state == kEnded && --running == 0) ended.release();
        });
        ASSERT_TRUE((*domain)->start());
        domains.push_back(std::move(domain));
      }
    });
    EXPECT_TRUE(ended.try_acquire_for(std::chrono::minutes(2)));
    worker->call([&] {
      for (const auto& domain : domains) {
        EXPECT_EQ((*domain)->reason().kind, EndKind::kPowerOff);
        EXPECT_TRUE((*domain)->close());
      }
      domains.clear();
    });
  }
  io->stop();
}

INSTANTIATE_TEST_SUITE_P(Threads, DomainThreadsTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "one" : "split"; });

}  // namespace
}  // namespace hull::vmm
