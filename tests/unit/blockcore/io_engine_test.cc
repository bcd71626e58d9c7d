#include "blockcore/engine/io_engine.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <future>
#include <map>
#include <numeric>
#include <thread>

#include "base/event_fd.h"
#include "base/unique_fd.h"
#include "tests/support/held_reads.h"
#include "tests/support/socket_pair.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

class IoEngineTest : public ::testing::TestWithParam<IoEngineKind> {
 protected:
  void SetUp() override {
    auto created = IoEngine::create(GetParam());
    if (!created && created.error().kind() == ErrorKind::kHost)
      GTEST_SKIP() << created.error().message();
    ASSERT_TRUE(created) << created.error().message();
    engine_ = *std::move(created);
    auto opened = open_file(directory_ / "data", O_RDWR | O_CREAT);
    ASSERT_TRUE(opened);
    file_ = *std::move(opened);
  }

  // One write and one read-back of `length` bytes at `offset`.
  Task<int64_t> round_trip(uint64_t offset, size_t length) {
    std::vector<uint8_t> out(length);
    std::iota(out.begin(), out.end(), static_cast<uint8_t>(offset >> 9));
    const iovec out_buffer{out.data(), out.size()};
    const int64_t put = co_await engine_->writev(file_.get(), {&out_buffer, 1}, offset);
    std::vector<uint8_t> in(length);
    const iovec in_buffer{in.data(), in.size()};
    const int64_t got = co_await engine_->readv(file_.get(), {&in_buffer, 1}, offset);
    EXPECT_EQ(in, out);
    co_return put == got ? got : -1;
  }

  Task<void> counted(uint64_t offset, size_t length) {
    EXPECT_EQ(co_await round_trip(offset, length), static_cast<int64_t>(length));
    ++finished_;
  }

  // Starts `count` round trips and waits for them with a coroutine that polls their number.
  Task<void> many(unsigned count) {
    for (unsigned i = 0; i < count; ++i) start_detached(counted(i * 4096ULL, 4096));
    while (finished_ < count) co_await engine_->data_sync(file_.get());
  }

  testing::TemporaryDirectory directory_;
  UniqueFd file_;
  unsigned finished_ = 0;
  std::unique_ptr<IoEngine> engine_;
};

TEST_P(IoEngineTest, SingleOperationsReturnWhatTheSystemCallReturns) {
  EXPECT_EQ(engine_->run_until_done(round_trip(512, 1000)), 1000);
}

TEST_P(IoEngineTest, ManyOperationsAtOnceAllFinish) {
  engine_->run_until_done(many(1500));
  EXPECT_EQ(finished_, 1500U);
}

TEST_P(IoEngineTest, ReadAtEndOfFileIsShort) {
  engine_->run_until_done(many(2));
  std::array<uint8_t, 4096> data;
  const iovec buffer{data.data(), data.size()};
  auto read = [&]() -> Task<int64_t> {
    co_return co_await engine_->readv(file_.get(), {&buffer, 1}, 8192 - 100);
  };
  EXPECT_EQ(engine_->run_until_done(read()), 100);
}

TEST_P(IoEngineTest, FailureIsNegativeErrno) {
  auto run = [&](int fd) -> Task<int64_t> { co_return co_await engine_->data_sync(fd); };
  EXPECT_EQ(engine_->run_until_done(run(-1)), -EBADF);
}

TEST_P(IoEngineTest, FallocateExtendsTheFile) {
  auto run = [&]() -> Task<int64_t> {
    co_return co_await engine_->fallocate(file_.get(), 0, 0, 65536);
  };
  EXPECT_EQ(engine_->run_until_done(run()), 0);
  EXPECT_EQ(::lseek(file_.get(), 0, SEEK_END), 65536);
}

TEST_P(IoEngineTest, CopyRangeCopiesOrIsRefused) {
  const UniqueFd source = open_file(directory_ / "source", O_RDWR | O_CREAT).value();
  ASSERT_TRUE(write_all(source.get(), std::as_bytes(std::span("hull"))));
  auto run = [&]() -> Task<int64_t> {
    co_return co_await engine_->copy_range(source.get(), 1, file_.get(), 4096, 100);
  };
  const int64_t copied = engine_->run_until_done(run());
  EXPECT_EQ(copied, engine_->name() == "threads" ? 4 : -EOPNOTSUPP);
  EXPECT_EQ(::lseek(file_.get(), 0, SEEK_END), engine_->name() == "threads" ? 4100 : 0);
}

using testing::SocketPair;

Task<void> receive_into(IoEngine& engine, int fd, std::span<char> data, bool whole,
                        int64_t& result) {
  const iovec buffer{data.data(), data.size()};
  result = co_await engine.receive(fd, {&buffer, 1}, whole);
}

TEST_P(IoEngineTest, ReceiveWaitsForWhatIsSentLater) {
  SocketPair pair;
  std::array<char, 8> data{};
  int64_t got = -1;
  auto run = [&]() -> Task<int64_t> {
    start_detached(receive_into(*engine_, pair.ours.get(), data, true, got));
    const iovec half{const_cast<char*>("hullhull"), 4};
    const int64_t first = co_await engine_->send(pair.theirs.get(), {&half, 1});
    const int64_t second = co_await engine_->send(pair.theirs.get(), {&half, 1});
    while (got == -1) co_await engine_->data_sync(file_.get());
    co_return first + second;
  };
  EXPECT_EQ(engine_->run_until_done(run()), 8);
  // Without io_uring's help a receive may be short; it is the caller who goes on.
  EXPECT_GE(got, 4);
  EXPECT_EQ(std::string_view(data.data(), static_cast<size_t>(got)),
            std::string_view("hullhull", static_cast<size_t>(got)));
}

// More of them than operations on files may be in flight.
TEST_P(IoEngineTest, WaitingReceivesLeaveTheEngineFreeForFiles) {
  rlimit files{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  const rlimit enough{std::min<rlim_t>(files.rlim_max, 2048), files.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &enough), 0);
  std::vector<SocketPair> pairs(600);
  std::vector<std::array<char, 4>> data(pairs.size());
  std::vector<int64_t> got(pairs.size(), -1);
  auto run = [&]() -> Task<void> {
    for (size_t i = 0; i < pairs.size(); ++i)
      start_detached(receive_into(*engine_, pairs[i].ours.get(), data[i], false, got[i]));
    co_await many(20);
    for (const SocketPair& pair : pairs) ::shutdown(pair.ours.get(), SHUT_RDWR);
    while (std::count(got.begin(), got.end(), 0) < std::ssize(got))
      co_await engine_->data_sync(file_.get());
  };
  engine_->run_until_done(run());
  EXPECT_EQ(finished_, 20U);
}

TEST_P(IoEngineTest, SocketTakesOneReceiveAndOneSendAtOnce) {
  SocketPair pair;
  std::vector<char> large(4 << 20, 'x');
  std::vector<char> drained(large.size());
  std::array<char, 4> answer{};
  int64_t got = -1;
  auto run = [&]() -> Task<uint64_t> {
    start_detached(receive_into(*engine_, pair.ours.get(), answer, false, got));
    std::thread peer([&] {
      for (size_t done = 0; done < drained.size();)
        done += static_cast<size_t>(
            ::read(pair.theirs.get(), drained.data() + done, drained.size() - done));
      EXPECT_EQ(::write(pair.theirs.get(), "done", 4), 4);
    });
    uint64_t sent = 0;
    while (sent < large.size()) {
      const iovec rest{large.data() + sent, large.size() - sent};
      sent += static_cast<uint64_t>(co_await engine_->send(pair.ours.get(), {&rest, 1}));
    }
    while (got == -1) co_await engine_->data_sync(file_.get());
    peer.join();
    co_return sent;
  };
  EXPECT_EQ(engine_->run_until_done(run()), large.size());
  EXPECT_EQ(got, 4);
  EXPECT_EQ(drained, large);
}

TEST_P(IoEngineTest, SendToNobodyIsAnErrorAndNoSignal) {
  SocketPair pair;
  pair.theirs.reset();
  auto run = [&]() -> Task<int64_t> {
    const iovec buffer{const_cast<char*>("x"), 1};
    co_return co_await engine_->send(pair.ours.get(), {&buffer, 1});
  };
  EXPECT_EQ(engine_->run_until_done(run()), -EPIPE);
}

TEST_P(IoEngineTest, StopBeforeRunMakesRunReturn) {
  engine_->stop();
  engine_->run();
  engine_->stop();
  engine_->run();
}

TEST_P(IoEngineTest, PostedFunctionsRunInOrderOnTheEngineThread) {
  std::vector<int> order;
  std::thread::id ran_on;
  std::thread loop([&] { engine_->run(); });
  for (int i = 0; i < 1000; ++i)
    engine_->post([&order, &ran_on, i] {
      order.push_back(i);
      ran_on = std::this_thread::get_id();
    });
  engine_->post([&] { engine_->stop(); });
  const auto loop_id = loop.get_id();
  loop.join();
  ASSERT_EQ(order.size(), 1000U);
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  EXPECT_EQ(ran_on, loop_id);
}

TEST_P(IoEngineTest, RunFinishesWhatIsInFlightBeforeItReturns) {
  engine_->post([&] {
    for (unsigned i = 0; i < 300; ++i) start_detached(counted(i * 4096ULL, 4096));
    engine_->stop();
  });
  engine_->run();
  EXPECT_EQ(finished_, 300U);
}

TEST_P(IoEngineTest, IdleEngineMovesBetweenThreads) {
  engine_->run_until_done(many(20));
  finished_ = 0;
  engine_->post([&] {
    for (unsigned i = 0; i < 20; ++i) start_detached(counted(i * 4096ULL, 4096));
    engine_->stop();
  });
  std::thread([&] { engine_->run(); }).join();
  EXPECT_EQ(finished_, 20U);
  finished_ = 0;
  engine_->run_until_done(many(20));
  EXPECT_EQ(finished_, 20U);
}

TEST_P(IoEngineTest, WatchSeesEverySignalOfAnotherThread) {
  const EventFd kick = EventFd::create().value();
  const EventFd reply = EventFd::create().value();
  unsigned seen = 0;
  ASSERT_TRUE(engine_->watch(kick.fd(), [&] {
    ++seen;
    start_detached(counted(0, 4096));
    reply.signal();
  }));
  std::thread loop([&] { engine_->run(); });
  for (unsigned i = 0; i < 2000; ++i) {
    kick.signal();
    while (!reply.consume()) std::this_thread::yield();
  }
  engine_->stop();
  loop.join();
  EXPECT_GE(seen, 2000U);
  engine_->unwatch(kick.fd());
}

TEST_P(IoEngineTest, SignalBeforeWatchAndBetweenRunsIsSeen) {
  const EventFd kick = EventFd::create().value();
  unsigned seen = 0;
  kick.signal();
  ASSERT_TRUE(engine_->watch(kick.fd(), [&] {
    ++seen;
    engine_->stop();
  }));
  engine_->run();
  EXPECT_EQ(seen, 1U);
  kick.signal();
  std::thread([&] { engine_->run(); }).join();
  EXPECT_GE(seen, 2U);
}

TEST_P(IoEngineTest, SignalWhileDrainingIsKeptForTheNextRun) {
  const EventFd kick = EventFd::create().value();
  unsigned seen = 0;
  ASSERT_TRUE(engine_->watch(kick.fd(), [&] {
    ++seen;
    engine_->stop();
  }));
  engine_->post([&] {
    for (unsigned i = 0; i < 50; ++i) start_detached(counted(i * 4096ULL, 4096));
    engine_->stop();
    kick.signal();
  });
  engine_->run();
  EXPECT_EQ(seen, 0U);
  engine_->run();
  EXPECT_EQ(seen, 1U);
}

TEST_P(IoEngineTest, UnwatchedDescriptorIsNeverReported) {
  const EventFd kick = EventFd::create().value();
  const EventFd last = EventFd::create().value();
  unsigned seen = 0;
  ASSERT_TRUE(engine_->watch(kick.fd(), [&] {
    ++seen;
    engine_->unwatch(kick.fd());
    kick.signal();
    last.signal();
  }));
  ASSERT_TRUE(engine_->watch(last.fd(), [&] {
    kick.signal();
    engine_->post([&] { engine_->stop(); });
  }));
  kick.signal();
  engine_->run();
  EXPECT_EQ(seen, 1U);
}

// Work in memory, as in a virtqueue: a kick is needed only after may_sleep() agreed.
class CountingClient : public LoopClient {
 public:
  CountingClient(IoEngine& engine, unsigned until) : engine_(engine), until_(until) {}
  bool turn() override {
    if (work.exchange(0) == 0) return false;
    if (++done == until_) engine_.stop();
    return true;
  }
  bool may_sleep() override {
    kick_wanted = true;
    return work == 0;
  }

  std::atomic<unsigned> work{0};
  std::atomic<unsigned> done{0};
  std::atomic<bool> kick_wanted{false};

 private:
  IoEngine& engine_;
  const unsigned until_;
};

TEST_P(IoEngineTest, ClientIsServedWithKicksOnlyWhereItAskedForThem) {
  constexpr unsigned kRounds = 2000;
  const EventFd kick = EventFd::create().value();
  CountingClient client(*engine_, kRounds);
  ASSERT_TRUE(engine_->watch(kick.fd(), [] {}));
  engine_->add_client(client);
  std::thread guest([&] {
    for (unsigned i = 1; i <= kRounds; ++i) {
      client.work = 1;
      if (client.kick_wanted.exchange(false)) kick.signal();
      while (client.done < i) std::this_thread::yield();
    }
  });
  engine_->run();
  guest.join();
  EXPECT_EQ(client.done, kRounds);
  engine_->remove_client(client);
  engine_->unwatch(kick.fd());
}

TEST_P(IoEngineTest, ClientGetsATurnAfterCompletions) {
  class Client : public LoopClient {
   public:
    bool turn() override {
      ++turns;
      return false;
    }
    bool may_sleep() override { return true; }
    unsigned turns = 0;
  } client;
  const EventFd kick = EventFd::create().value();
  ASSERT_TRUE(engine_->watch(kick.fd(), [] {}));
  engine_->add_client(client);
  engine_->run_until_done(round_trip(0, 4096));
  EXPECT_GE(client.turns, 2U);
  engine_->remove_client(client);
  engine_->unwatch(kick.fd());
}

// Reads of a descriptor, on an engine that runs in a thread of its own.
class CancelTest : public IoEngineTest {
 protected:
  using Results = std::map<int64_t, unsigned>;  // how many ended with what

  void SetUp() override {
    IoEngineTest::SetUp();
    if (IsSkipped()) return;
    thread_ = std::thread([this] { engine_->run(); });
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pipe_.reset(ends[0]);
    writing_.reset(ends[1]);
  }
  void TearDown() override {
    if (!thread_.joinable()) return;
    engine_->stop();
    thread_.join();
  }
  Task<void> read(int fd, Results& results) {
    uint8_t byte = 0;
    const iovec buffer{&byte, 1};
    const std::span<const iovec> buffers(&buffer, 1);
    ++results[co_await engine_->readv(fd, buffers, 0)];
  }
  void start_reads(int fd, unsigned count, Results& results) {
    engine_->post([this, fd, count, &results] {
      for (unsigned i = 0; i < count; ++i) start_detached(read(fd, results));
    });
  }
  void cancel(int fd) {
    engine_->post([this, fd] { engine_->cancel(fd); });
  }
  Results now(const Results& results) {
    std::promise<Results> promise;
    engine_->post([&] { promise.set_value(results); });
    return promise.get_future().get();
  }
  Results wait_for(unsigned count, const Results& results) {
    for (;;) {
      const Results seen = now(results);
      unsigned ended = 0;
      for (const auto& [result, times] : seen) ended += times;
      if (ended >= count) return seen;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  std::thread thread_;
  UniqueFd pipe_, writing_;
};

// The threads are busy, so the reads of the file wait for one.
TEST_P(CancelTest, WhatWaitsForItsTurnEndsAndNothingElseDoes) {
  const bool uring = engine_->name() == "io_uring";
  constexpr unsigned kManyReads = 600;  // more than the ring has in flight
  constexpr unsigned kLongReads = 24;   // more than there are threads
  ASSERT_TRUE(write_all(file_.get(), std::as_bytes(std::span("hull"))));
  const unsigned busy_reads = uring ? kManyReads : kLongReads;
  for (const int delay : {0, 5}) {
    hull::testing::HeldReads held;
    Results busy, waiting;
    if (uring)
      start_reads(pipe_.get(), busy_reads, busy);
    else
      start_reads(held.fd(), busy_reads, busy);
    start_reads(file_.get(), 3, waiting);
    std::this_thread::sleep_for(std::chrono::milliseconds(delay));
    cancel(file_.get());
    EXPECT_EQ(wait_for(3, waiting), (Results{{-ECANCELED, 3}}));
    EXPECT_TRUE(now(busy).empty());
    if (uring) {
      ASSERT_TRUE(write_all(writing_.get(), std::vector<std::byte>(busy_reads)));
    }
    held.release();
    start_reads(file_.get(), 2, waiting);
    EXPECT_EQ(wait_for(5, waiting), (Results{{-ECANCELED, 3}, {1, 2}}));
    EXPECT_EQ(wait_for(busy_reads, busy).size(), 1U) << "they end as they would have";
  }
}

// Threads cannot be taken out of a system call; a ring waits without one.
class RingCancelTest : public CancelTest {};

TEST_P(RingCancelTest, RingLetsGoOfWhatItWaitsWith) {
  Results results;
  start_reads(pipe_.get(), 3, results);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  cancel(pipe_.get());
  EXPECT_EQ(wait_for(3, results), (Results{{-ECANCELED, 3}}));
  // Two: a single one would be a plain system call, which pipes refuse.
  start_reads(pipe_.get(), 2, results);
  ASSERT_TRUE(write_all(writing_.get(), std::vector<std::byte>(2)));
  EXPECT_EQ(wait_for(5, results), (Results{{-ECANCELED, 3}, {1, 2}}));
}

INSTANTIATE_TEST_SUITE_P(Uring, RingCancelTest, ::testing::Values(IoEngineKind::kUring));

INSTANTIATE_TEST_SUITE_P(Engines, CancelTest,
                         ::testing::Values(IoEngineKind::kUring, IoEngineKind::kThreads),
                         [](const auto& test) {
                           return test.param == IoEngineKind::kUring ? "uring" : "threads";
                         });

INSTANTIATE_TEST_SUITE_P(Engines, IoEngineTest,
                         ::testing::Values(IoEngineKind::kUring, IoEngineKind::kThreads),
                         [](const auto& test) {
                           return test.param == IoEngineKind::kUring ? "uring" : "threads";
                         });

// As container runtimes do it.
void refuse_io_uring() {
  sock_filter program[] = {
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, 0},  // the number of the system call
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, __NR_io_uring_setup},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
  };
  const sock_fprog filter{static_cast<unsigned short>(std::size(program)), program};
  CHECK(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
  CHECK(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0);
}

TEST(IoEngine, AutomaticFallsBackToThreadsWhereIoUringIsRefused) {
  EXPECT_EXIT(
      {
        refuse_io_uring();
        const auto automatic = IoEngine::create(IoEngineKind::kAutomatic);
        const auto uring = IoEngine::create(IoEngineKind::kUring);
        const bool right = automatic && (*automatic)->name() == "threads" && !uring &&
                           uring.error().kind() == ErrorKind::kHost;
        ::_exit(right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace hull::blockcore
