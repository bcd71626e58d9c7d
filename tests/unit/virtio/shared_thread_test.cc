// A disk, a network interface and an entropy device at work together: on one thread, and on one
// each.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>

#include "blockcore/engine/engine_reactor.h"
#include "blockcore/engine/io_thread.h"
#include "tests/support/fake_driver.h"
#include "tests/support/fake_virtio.h"
#include "tests/support/memory_disk.h"
#include "virtio/block_device.h"
#include "virtio/mmio_transport.h"
#include "virtio/net_device.h"
#include "virtio/rng_device.h"

namespace hull::virtio {
namespace {

using testing::Access;
using testing::Buffer;
using testing::FakeDriver;
using testing::FakeLine;
using testing::FakeMmioDriver;

struct Threads {
  blockcore::IoEngineKind engine;
  bool shared;
};

class SharedWire : public NetBackend {
 public:
  explicit SharedWire(UniqueFd fd) : fd_(std::move(fd)) {}
  int fd() const override { return fd_.get(); }
  NetOffloads supported_offloads() const override { return {}; }
  Result<void> set_offloads(NetOffloads) override { return {}; }

 private:
  UniqueFd fd_;
};

// A device with its driver; queue i has its rings at base + 0x1000 * i.
class Attached {
 public:
  Attached(const GuestMemory& memory, uint64_t base, std::unique_ptr<VirtioDevice> device)
      : transport_(MmioTransport::create(std::move(device), memory, line_).value()) {
    FakeMmioDriver driver(*transport_);
    CHECK(driver.negotiate(uint64_t{1} << 32 | uint64_t{1} << 29));
    for (uint32_t i = 0; i < transport_->queue_count(); ++i) {
      rings_.emplace_back(memory, GuestAddress{base + 0x1000 * i}, uint16_t{16}, true);
      driver.set_up_queue(i, rings_.back().config());
    }
    driver.set_driver_ok();
    CHECK(driver.status() == 15);
  }
  void add(size_t queue, std::initializer_list<Buffer> buffers) {
    rings_[queue].add(buffers);
    if (rings_[queue].must_kick()) FakeMmioDriver(*transport_).kick(static_cast<uint32_t>(queue));
  }
  FakeDriver::Used wait(size_t queue) { return rings_[queue].wait_used(); }

 private:
  FakeLine line_;
  std::vector<FakeDriver> rings_;
  std::unique_ptr<MmioTransport> transport_;
};

class SharedThreadTest : public ::testing::TestWithParam<Threads> {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);
    auto io = blockcore::IoThread::create(GetParam().engine);
    if (!io) GTEST_SKIP() << io.error().message();
    io_ = *std::move(io);
    ASSERT_TRUE(io_->start("block").has_value());
    host_.emplace(io_->engine());
    for (auto* worker : {&net_worker_, &rng_worker_})
      *worker = GetParam().shared ? WorkerThread::create_on(*host_).value()
                                  : WorkerThread::create("worker").value();
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    backend_.emplace(UniqueFd(ends[0]));
    far_.reset(ends[1]);
  }
  void TearDown() override {
    net_worker_.reset();
    rng_worker_.reset();
    if (io_ != nullptr) io_->stop();
  }

  GuestMemory memory_ = testing::make_memory(1 << 20);
  testing::MemoryDisk disk_{64 << 10};
  std::unique_ptr<blockcore::IoThread> io_;
  std::optional<blockcore::EngineReactor> host_;
  std::unique_ptr<WorkerThread> net_worker_;
  std::unique_ptr<WorkerThread> rng_worker_;
  std::optional<SharedWire> backend_;
  UniqueFd far_;
};

TEST_P(SharedThreadTest, AllDevicesAreServed) {
  Attached disk(
      memory_, 0x1000,
      std::make_unique<BlockDevice>(BlockOptions{.queue_size = 16}, disk_, io_->engine()));
  Attached net(memory_, 0x2000,
               std::make_unique<NetDevice>(NetOptions{.queue_size = 16}, &*backend_, *net_worker_));
  // 64 bytes in 2 ms: more has to wait for a timer.
  Attached rng(
      memory_, 0x4000,
      std::make_unique<RngDevice>(RngOptions{.rate_bytes = 64, .rate_period_ms = 2}, *rng_worker_));
  const uint8_t frame[100] = {};
  for (int round = 0; round < 100; ++round) {
    disk.add(0, {{GuestAddress{0x8000}, 16, Access::kRead},
                 {GuestAddress{0x10000}, 512, Access::kWrite},
                 {GuestAddress{0x9000}, 1, Access::kWrite}});
    net.add(0, {{GuestAddress{0x20000}, 1600, Access::kWrite}});
    net.add(1, {{GuestAddress{0x30000}, 100, Access::kRead}});
    rng.add(0, {{GuestAddress{0x40000}, 64, Access::kWrite}});
    ASSERT_EQ(::write(far_.get(), frame, sizeof frame), 100);
    EXPECT_EQ(disk.wait(0).length, 513U);
    EXPECT_EQ(net.wait(0).length, 100U);
    net.wait(1);
    EXPECT_EQ(rng.wait(0).length, 64U);
    uint8_t departed[200];
    EXPECT_EQ(::read(far_.get(), departed, sizeof departed), 100);
  }
}

// More frames than one turn takes, and a disk that must not wait for the last of them.
TEST_P(SharedThreadTest, BurstOfFramesIsTakenWhole) {
  Attached net(memory_, 0x2000,
               std::make_unique<NetDevice>(NetOptions{.queue_size = 16}, &*backend_, *net_worker_));
  const uint8_t frame[100] = {};
  unsigned sent = 0;
  for (unsigned received = 0; received < 2000; ++received) {
    while (sent < 2000 && ::write(far_.get(), frame, sizeof frame) == 100) ++sent;
    net.add(0, {{GuestAddress{0x20000}, 1600, Access::kWrite}});
    EXPECT_EQ(net.wait(0).length, 100U);
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, SharedThreadTest,
                         ::testing::Values(Threads{blockcore::IoEngineKind::kUring, true},
                                           Threads{blockcore::IoEngineKind::kThreads, true},
                                           Threads{blockcore::IoEngineKind::kUring, false},
                                           Threads{blockcore::IoEngineKind::kThreads, false}),
                         [](const auto& test) {
                           const bool uring = test.param.engine == blockcore::IoEngineKind::kUring;
                           return std::string(uring ? "uring" : "threads") +
                                  (test.param.shared ? "Shared" : "Own");
                         });

}  // namespace
}  // namespace hull::virtio
