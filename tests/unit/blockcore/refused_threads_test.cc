// What the engines and pools do on hosts that refuse threads.
#include "tests/support/refused_threads.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "base/unique_fd.h"
#include "blockcore/engine/io_thread.h"
#include "blockcore/engine/worker_pool.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

constexpr unsigned kRequests = 64;
constexpr size_t kBytes = 4096;

// Many writes at once, so that the engine wants all the threads that it may have.
class Writers {
 public:
  Writers() : engine_(IoEngine::create(IoEngineKind::kThreads).value()) {}

  unsigned run() {
    engine_->run_until_done(all());
    return finished_;
  }

 private:
  Task<void> one(uint64_t offset) {
    const iovec buffer{data_.data(), data_.size()};
    const int64_t result = co_await engine_->writev(file_.get(), {&buffer, 1}, offset);
    EXPECT_EQ(result, static_cast<int64_t>(kBytes));
    ++finished_;
  }
  Task<void> all() {
    for (unsigned i = 1; i < kRequests; ++i) start_detached(one(i * kBytes));
    while (finished_ < kRequests - 1) co_await one(0);
  }

  const testing::TemporaryDirectory directory_;
  const UniqueFd file_ = open_file(directory_ / "data", O_RDWR | O_CREAT).value();
  std::vector<uint8_t> data_ = std::vector<uint8_t>(kBytes, 7);
  std::unique_ptr<IoEngine> engine_;
  unsigned finished_ = 0;
};

TEST(RefusedThreads, EngineWithoutAnyDoesTheWorkItself) {
  Writers writers;
  const testing::RefusedThreads refused;
  EXPECT_GE(writers.run(), kRequests);
}

TEST(RefusedThreads, EngineGoesOnWithThoseThatItHas) {
  Writers writers;
  const testing::FewThreads few(2);
  EXPECT_GE(writers.run(), kRequests);
}

TEST(RefusedThreads, PoolGoesOnWithThoseThatItHas) {
  const auto engine = IoEngine::create(IoEngineKind::kThreads).value();
  const testing::FewThreads few(1);
  const auto pool = WorkerPool::create(*engine, 4).value();
  ASSERT_EQ(pool->threads(), 1U);
  unsigned jobs = 0;
  const auto run = [&]() -> Task<void> {
    for (int i = 0; i < 8; ++i) co_await pool->run([&](unsigned) { ++jobs; });
  };
  engine->run_until_done(run());
  EXPECT_EQ(jobs, 8U);
}

TEST(RefusedThreads, PoolWithoutAnyIsAnError) {
  const auto engine = IoEngine::create(IoEngineKind::kThreads).value();
  const testing::RefusedThreads refused;
  const auto pool = WorkerPool::create(*engine, 4);
  ASSERT_FALSE(pool);
  EXPECT_EQ(pool.error().kind(), ErrorKind::kHost);
}

TEST(RefusedThreads, IoThreadThatCannotStartIsAnErrorAndMayBeTriedAgain) {
  const auto io = IoThread::create().value();
  {
    const testing::RefusedThreads refused;
    const auto started = io->start("block");
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().kind(), ErrorKind::kHost);
    EXPECT_FALSE(io->running());
  }
  EXPECT_TRUE(io->start("block"));
}

}  // namespace
}  // namespace hull::blockcore
