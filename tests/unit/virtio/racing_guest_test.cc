// A guest whose vCPUs write to rings, buffers and registers while the devices work on them. What it
// gets is its own affair; the process and what it can reach outside its memory are ours.
//
// Guest memory is racy by nature: GuestSlice copies once and uses the copy. For the thread
// sanitizer a report with base/guest_memory.h in it is no news; all others are.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <random>
#include <thread>

#include "base/endian.h"
#include "base/log.h"
#include "tests/support/fake_driver.h"
#include "tests/support/fake_virtio.h"
#include "tests/support/memory_disk.h"
#include "virtio/block_device.h"
#include "virtio/net_device.h"
#include "virtio/rng_device.h"

extern "C" const char* __tsan_default_suppressions();
extern "C" const char* __tsan_default_suppressions() { return "race:base/guest_memory.h\n"; }

namespace hull::virtio {
namespace {

using testing::Access;
using testing::FakeDriver;
using testing::FakeLine;
using testing::FakeMmioDriver;
using testing::MemoryDisk;

constexpr uint64_t kModern = uint64_t{1} << 32;
constexpr uint64_t kEventIndex = uint64_t{1} << 29;
constexpr uint64_t kIndirect = uint64_t{1} << 28;
constexpr uint64_t kGuestBytes = 0x80000;
constexpr uint16_t kQueueSize = 16;
constexpr GuestAddress kRings[] = {GuestAddress{0x1000}, GuestAddress{0x2000}};

// Writes all over the rings, the headers and some data until told to stop.
void scribble(const GuestMemory& memory, unsigned seed, const std::atomic<bool>& stop) {
  std::mt19937 random(seed);
  const GuestSlice rings = memory.slice(kRings[0], 0x2000).value();
  const GuestSlice headers = memory.slice(GuestAddress{0x8000}, 0x1000).value();
  while (!stop.load(std::memory_order_relaxed)) {
    const auto value =
        static_cast<uint16_t>(random() % 4 == 0 ? random() : random() % (kQueueSize + 1));
    const size_t ring = (random() % 2) * 0x1000;
    // The descriptors, both rings, and now and then the available index itself.
    rings.write(ring + 2 * (random() % 240), Le16(value));
    headers.write(2 * (random() % 0x400), Le16(static_cast<uint16_t>(random() % 16)));
    if (random() % 64 == 0) std::this_thread::yield();
  }
}

// Accesses registers at random, resets among them.
void prod(MmioTransport& transport, unsigned seed, const std::atomic<bool>& stop) {
  std::mt19937 random(seed);
  while (!stop.load(std::memory_order_relaxed)) {
    uint8_t bytes[8] = {static_cast<uint8_t>(random() % 16)};
    const size_t length = random() % 2 != 0 ? 4 : 1 + random() % 8;
    const uint64_t offset = random() % 2 != 0 ? 4 * (random() % 0x40) : random() % 0x200;
    transport.read(offset, std::span(bytes).first(length));
    if (offset != 0x70 || random() % 16 == 0)
      transport.write(offset, std::span(bytes).first(length));
    std::this_thread::yield();
  }
}

class RacingGuestTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);
    set_log_level(LogLevel::kError);
  }
  void TearDown() override { set_log_level(LogLevel::kWarn); }

  // Starts the device again and again, with sane rings that soon are not.
  void attack(std::unique_ptr<VirtioDevice> device, const std::vector<testing::Buffer>& buffers) {
    const auto transport = MmioTransport::create(std::move(device), memory_, line_).value();
    FakeMmioDriver registers(*transport);
    std::atomic<bool> stop{false};
    std::thread memory_racer([&] { scribble(memory_, 1, stop); });
    std::thread register_racer([&] { prod(*transport, 2, stop); });
    for (unsigned round = 0; round < 150; ++round) {
      registers.reset();
      start(*transport, registers, round);
      for (int i = 0; i < 40; ++i) {
        const size_t queue = static_cast<size_t>(i) % transport->queue_count();
        rings_[queue].add(buffers);
        registers.kick(static_cast<uint32_t>(queue));
        while (rings_[queue].pop_used()) {
        }
        if (rings_[queue].free_descriptors() < buffers.size()) break;
      }
    }
    stop = true;
    memory_racer.join();
    register_racer.join();
    registers.reset();
    EXPECT_EQ(registers.status(), 0);
    serve_once(*transport, registers, buffers);
  }

  void start(const MmioTransport& transport, FakeMmioDriver& registers, unsigned round) {
    const uint64_t features = round % 2 == 0 ? kEventIndex | kIndirect : 0;
    rings_.clear();
    registers.negotiate(kModern | features);
    for (size_t queue = 0; queue < transport.queue_count(); ++queue) {
      rings_.emplace_back(memory_, kRings[queue], kQueueSize, features != 0);
      registers.set_up_queue(static_cast<uint32_t>(queue), rings_.back().config());
    }
    registers.set_driver_ok();
  }

  // Left in peace, the device works as if nothing had happened.
  void serve_once(const MmioTransport& transport, FakeMmioDriver& registers,
                  const std::vector<testing::Buffer>& buffers) {
    start(transport, registers, 0);
    EXPECT_EQ(registers.status(), 15);
    const size_t last = transport.queue_count() - 1;
    rings_[last].add(buffers);
    registers.kick(static_cast<uint32_t>(last));
    rings_[last].wait_used();
  }

  GuestMemory memory_ = testing::make_memory(kGuestBytes);
  FakeLine line_;
  std::vector<FakeDriver> rings_;
};

TEST_F(RacingGuestTest, BlockDeviceSurvives) {
  MemoryDisk disk(64 * 1024);
  const auto engine = blockcore::IoEngine::create().value();
  std::thread io([&] { engine->run(); });
  attack(std::make_unique<BlockDevice>(BlockOptions{.discard = true, .queue_size = kQueueSize},
                                       disk, *engine),
         {{GuestAddress{0x8000}, 16, Access::kRead},
          {GuestAddress{0x10000}, 1024, Access::kWrite},
          {GuestAddress{0x9000}, 1, Access::kWrite}});
  engine->stop();
  io.join();
}

class PipeBackend : public NetBackend {
 public:
  explicit PipeBackend(UniqueFd fd) : fd_(std::move(fd)) {}
  int fd() const override { return fd_.get(); }
  NetOffloads supported_offloads() const override { return {}; }
  Result<void> set_offloads(NetOffloads) override { return {}; }

 private:
  UniqueFd fd_;
};

TEST_F(RacingGuestTest, NetworkDeviceSurvives) {
  int wire[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, wire), 0);
  const UniqueFd far(wire[1]);
  std::atomic<bool> stop{false};
  std::thread peer([&] {
    uint8_t frame[3000] = {};
    while (!stop.load(std::memory_order_relaxed)) {
      (void)!::write(far.get(), frame, sizeof frame);
      while (::read(far.get(), frame, sizeof frame) > 0) {
      }
      std::this_thread::yield();
    }
  });
  const auto worker = WorkerThread::create("net").value();
  PipeBackend backend{UniqueFd(wire[0])};
  attack(
      std::make_unique<NetDevice>(NetOptions{.queue_size = kQueueSize}, &backend, *worker),
      {{GuestAddress{0x10000}, 700, Access::kRead}, {GuestAddress{0x9000}, 900, Access::kWrite}});
  stop = true;
  peer.join();
}

TEST_F(RacingGuestTest, EntropyDeviceSurvives) {
  const auto worker = WorkerThread::create("rng").value();
  attack(std::make_unique<RngDevice>(RngOptions{}, *worker),
         {{GuestAddress{0x10000}, 64, Access::kWrite}});
}

}  // namespace
}  // namespace hull::virtio
