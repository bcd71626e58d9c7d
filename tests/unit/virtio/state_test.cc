// Pausing, and a machine's devices built anew from their saved state: the driver goes on as if
// nothing had happened. It is a polite one, which kicks only when the device asks for it.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "base/endian.h"
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
using testing::FakeDevice;
using testing::FakeDriver;
using testing::FakeLine;
using testing::FakeMmioDriver;
using testing::pause_and_wait;

constexpr uint64_t kVersion1 = uint64_t{1} << 32;
constexpr uint64_t kEventIdx = uint64_t{1} << 29;
constexpr uint16_t kStateQueueSize = 16;  // of the devices' queues
constexpr uint16_t kRingSize = 8;         // what the driver makes of them

class StateTest : public ::testing::Test {
 protected:
  void SetUp() override { ::signal(SIGPIPE, SIG_IGN); }

  void build(std::unique_ptr<VirtioDevice> device) {
    transport_.reset();
    transport_ = MmioTransport::create(std::move(device), memory_, line_).value();
  }
  FakeMmioDriver registers() { return FakeMmioDriver(*transport_); }
  void start(uint64_t features = 0) {
    FakeMmioDriver driver = registers();
    ASSERT_TRUE(driver.negotiate(kVersion1 | kEventIdx | features));
    for (size_t i = 0; i < transport_->queue_count(); ++i) {
      rings_.emplace_back(memory_, GuestAddress{0x1000 * (i + 1)}, kRingSize, true);
      driver.set_up_queue(static_cast<uint32_t>(i), rings_.back().config());
    }
    driver.set_driver_ok();
    ASSERT_EQ(driver.status(), 15);
  }
  void add(size_t queue, std::initializer_list<Buffer> buffers) {
    rings_[queue].add(buffers);
    if (rings_[queue].must_kick()) registers().kick(static_cast<uint32_t>(queue));
  }
  std::vector<uint8_t> save() {
    pause_and_wait(transport_->frontend());
    StateWriter out;
    transport_->save(out);
    return std::move(out).finish();
  }
  Result<void> load(std::span<const uint8_t> state) {
    StateReader in(state);
    TRY(transport_->load(in));
    return in.end();
  }

  GuestMemory memory_ = testing::make_memory(1 << 20);
  FakeLine line_;
  std::unique_ptr<MmioTransport> transport_;
  std::vector<FakeDriver> rings_;
};

class BlockStateTest : public StateTest {
 protected:
  void SetUp() override { ASSERT_TRUE(io_->start("block").has_value()); }
  void TearDown() override {
    transport_.reset();
    io_->stop();
  }
  std::unique_ptr<VirtioDevice> make() {
    return std::make_unique<BlockDevice>(BlockOptions{.queue_size = kStateQueueSize}, disk_,
                                         io_->engine());
  }
  void on_engine(const std::function<void()>& task) {
    std::binary_semaphore done(0);
    io_->post([&] {
      task();
      done.release();
    });
    done.acquire();
  }
  void add_read() {
    memory_.slice(GuestAddress{0x8000}, 16)->fill(0);
    add(0, {{GuestAddress{0x8000}, 16, Access::kRead},
            {GuestAddress{0x10000}, 512, Access::kWrite},
            {GuestAddress{0x9000}, 1, Access::kWrite}});
  }

  testing::MemoryDisk disk_{64 << 10};
  std::unique_ptr<blockcore::IoThread> io_ = blockcore::IoThread::create().value();
};

TEST_F(BlockStateTest, PauseAnswersWhatIsInFlightAndTakesNothingNew) {
  on_engine([this] { disk_.is_held = true; });
  build(make());
  start();
  add_read();
  unsigned reads = 0;
  while (reads == 0) on_engine([&] { reads = disk_.reads; });
  std::binary_semaphore paused(0);
  transport_->frontend().pause([&] { paused.release(); });
  for (int i = 0; i < 20; ++i) on_engine([] {});
  EXPECT_FALSE(paused.try_acquire());
  on_engine([this] { disk_.release(); });
  paused.acquire();
  EXPECT_EQ(rings_[0].used_index(), 1);
  EXPECT_NE(line_.edges, 0U) << "the driver is told";
  add_read();
  for (int i = 0; i < 20; ++i) on_engine([] {});
  EXPECT_EQ(disk_.reads, 1U);
  transport_->frontend().resume();
  rings_[0].wait_used();
  rings_[0].wait_used();
  EXPECT_EQ(disk_.reads, 2U);
}

TEST_F(BlockStateTest, DriverGoesOnWithADeviceBuiltAnew) {
  build(make());
  start();
  for (int i = 0; i < 20; ++i) {
    add_read();
    rings_[0].wait_used();
  }
  const std::vector<uint8_t> state = save();
  // What the old device never saw, and whose kick it would have got.
  add_read();
  build(make());
  ASSERT_TRUE(load(state).has_value());
  EXPECT_EQ(registers().status(), 15);
  EXPECT_EQ(rings_[0].used_index(), 20) << "not before it is resumed";
  const unsigned edges = line_.edges;
  transport_->frontend().resume();
  rings_[0].wait_used();
  EXPECT_GT(line_.edges, edges);
  for (int i = 0; i < 40; ++i) {
    add_read();
    rings_[0].wait_used();
  }
  EXPECT_EQ(disk_.reads, 61U);
}

TEST_F(BlockStateTest, PausedDeviceCanBeReset) {
  build(make());
  start();
  pause_and_wait(transport_->frontend());
  registers().reset();
  rings_.clear();
  start();
  add_read();
  rings_[0].wait_used();
}

TEST_F(StateTest, EntropyGoesOn) {
  const auto worker = WorkerThread::create("rng").value();
  const auto make = [&] { return std::make_unique<RngDevice>(RngOptions{}, *worker); };
  build(make());
  start();
  const auto round = [this] {
    add(0, {{GuestAddress{0x10000}, 64, Access::kWrite}});
    EXPECT_EQ(rings_[0].wait_used().length, 64U);
  };
  for (int i = 0; i < 20; ++i) round();
  const std::vector<uint8_t> state = save();
  add(0, {{GuestAddress{0x10000}, 64, Access::kWrite}});
  build(make());
  ASSERT_TRUE(load(state).has_value());
  transport_->frontend().resume();
  EXPECT_EQ(rings_[0].wait_used().length, 64U);
  for (int i = 0; i < 20; ++i) round();
  transport_.reset();
}

class StateWire : public NetBackend {
 public:
  explicit StateWire(UniqueFd fd) : fd_(std::move(fd)) {}
  int fd() const override { return fd_.get(); }
  NetOffloads supported_offloads() const override { return {.checksum = true}; }
  Result<void> set_offloads(NetOffloads offloads) override {
    checksum = offloads.checksum;
    return {};
  }
  std::atomic<bool> checksum{false};

 private:
  UniqueFd fd_;
};

TEST_F(StateTest, NetworkGoesOnWithTheBuffersThatWereTakenBeforehand) {
  constexpr uint64_t kMergeableBuffers = 1 << 15;
  constexpr uint64_t kChecksumOfGuest = 1 << 1;
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  StateWire backend{UniqueFd(ends[0])};
  const UniqueFd far(ends[1]);
  const auto worker = WorkerThread::create("net").value();
  const auto make = [&] {
    return std::make_unique<NetDevice>(NetOptions{.queue_size = kStateQueueSize}, &backend,
                                       *worker);
  };
  const auto arrive = [&](size_t bytes) {
    const std::vector<uint8_t> frame(bytes, 7);
    ASSERT_EQ(::write(far.get(), frame.data(), frame.size()), std::ssize(frame));
  };
  const auto depart = [&] {
    add(1, {{GuestAddress{0x80000}, 100, Access::kRead}});
    rings_[1].wait_used();
    uint8_t frame[200];
    EXPECT_EQ(::read(far.get(), frame, sizeof frame), 100);
  };
  build(make());
  start(kMergeableBuffers | kChecksumOfGuest);
  for (uint64_t i = 0; i < 8; ++i)
    add(0, {{GuestAddress{0x10000 + 0x1000 * i}, 1500, Access::kWrite}});
  arrive(100);
  EXPECT_EQ(rings_[0].wait_used().length, 100U);
  depart();

  // Buffers are held for the next frame, which comes while nobody listens.
  const std::vector<uint8_t> state = save();
  arrive(2000);
  for (int i = 0; i < 20; ++i) worker->call([] {});
  EXPECT_EQ(rings_[0].used_index(), 1);
  build(make());
  EXPECT_FALSE(backend.checksum);
  ASSERT_TRUE(load(state).has_value());
  transport_->frontend().resume();
  EXPECT_EQ(rings_[0].wait_used().length, 1500U);
  EXPECT_EQ(rings_[0].wait_used().length, 500U);
  EXPECT_TRUE(backend.checksum) << "what this driver negotiated";
  depart();
  for (int i = 0; i < 5; ++i) {
    arrive(100);
    EXPECT_EQ(rings_[0].wait_used().length, 100U);
  }
  transport_.reset();
}

// A frame that is larger than the buffers there are waits for more: for part of it there is room,
// the rest is in the device.
TEST_F(StateTest, FrameThatWaitsForRoomArrivesWhole) {
  constexpr uint64_t kMergeableBuffers = 1 << 15;
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  StateWire backend{UniqueFd(ends[0])};
  const UniqueFd far(ends[1]);
  const auto worker = WorkerThread::create("net").value();
  const auto make = [&] {
    return std::make_unique<NetDevice>(NetOptions{.queue_size = kStateQueueSize}, &backend,
                                       *worker);
  };
  std::vector<uint8_t> frame(2500);
  for (size_t i = 0; i < frame.size(); ++i) frame[i] = static_cast<uint8_t>(i / 100 + 1);
  build(make());
  start(kMergeableBuffers);
  add(0, {{GuestAddress{0x10000}, 1000, Access::kWrite}});
  ASSERT_EQ(::write(far.get(), frame.data(), frame.size()), std::ssize(frame));
  uint8_t probe;
  while (::recv(backend.fd(), &probe, 1, MSG_PEEK | MSG_DONTWAIT) > 0) worker->call([] {});
  for (int i = 0; i < 20; ++i) worker->call([] {});

  const std::vector<uint8_t> state = save();
  EXPECT_EQ(rings_[0].used_index(), 0);
  memory_.slice(GuestAddress{0x10000}, 1000)->fill(0);
  build(make());
  ASSERT_TRUE(load(state).has_value());
  transport_->frontend().resume();
  for (int i = 0; i < 20; ++i) worker->call([] {});
  EXPECT_EQ(rings_[0].used_index(), 0) << "there is still no room";
  for (const uint64_t address : {0x11000UL, 0x12000UL})
    add(0, {{GuestAddress{address}, 1000, Access::kWrite}});
  std::vector<uint8_t> got;
  for (const uint64_t address : {0x10000UL, 0x11000UL, 0x12000UL}) {
    const size_t length = rings_[0].wait_used().length;
    got.resize(got.size() + length);
    memory_.slice(GuestAddress{address}, length)->copy_to(std::span(got).last(length));
  }
  // num_buffers (virtio 1.2, 5.1.6.4) is the device's.
  frame[10] = 3;
  frame[11] = 0;
  EXPECT_EQ(got, frame);
  transport_.reset();
}

TEST_F(StateTest, PausedNetworkGoesOnByItself) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  StateWire backend{UniqueFd(ends[0])};
  const UniqueFd far(ends[1]);
  const auto worker = WorkerThread::create("net").value();
  build(std::make_unique<NetDevice>(NetOptions{.queue_size = kStateQueueSize}, &backend, *worker));
  start();
  pause_and_wait(transport_->frontend());
  rings_[0].add({{GuestAddress{0x10000}, 1500, Access::kWrite}});
  rings_[1].add({{GuestAddress{0x80000}, 100, Access::kRead}});
  const uint8_t frame[100] = {};
  ASSERT_EQ(::write(far.get(), frame, sizeof frame), 100);
  for (int i = 0; i < 20; ++i) worker->call([] {});
  EXPECT_EQ(rings_[0].used_index() + rings_[1].used_index(), 0);
  transport_->frontend().resume();
  rings_[0].wait_used();
  rings_[1].wait_used();
  transport_.reset();
}

TEST_F(StateTest, HalfNegotiatedDeviceGoesOnWithNegotiation) {
  build(std::make_unique<FakeDevice>());
  ASSERT_TRUE(registers().negotiate(kVersion1));
  registers().write(0x30, 1);
  const std::vector<uint8_t> state = save();
  build(std::make_unique<FakeDevice>());
  ASSERT_TRUE(load(state).has_value());
  transport_->frontend().resume();
  EXPECT_EQ(registers().status(), 11);
  EXPECT_EQ(registers().read(0x34), 16U) << "the second queue is selected";
  registers().set_driver_ok();
  EXPECT_EQ(registers().status(), 15);
}

TEST_F(StateTest, PendingInterruptAndFailureAreKept) {
  auto* const device = new FakeDevice;
  build(std::unique_ptr<VirtioDevice>(device));
  start();
  device->resources->interrupt->device_failed();
  const std::vector<uint8_t> state = save();
  build(std::make_unique<FakeDevice>());
  ASSERT_TRUE(load(state).has_value());
  EXPECT_EQ(registers().status(), 15 | kStatusNeedsReset);
  EXPECT_EQ(registers().read(0x60), 2U);
}

TEST_F(StateTest, StateThatIsCutOrChangedIsRefusedAndChangesNothing) {
  build(std::make_unique<FakeDevice>());
  start();
  const std::vector<uint8_t> state = save();
  build(std::make_unique<FakeDevice>());
  for (size_t length = 0; length < state.size(); ++length) {
    EXPECT_FALSE(load(std::span(state).first(length)).has_value()) << length;
    EXPECT_EQ(registers().status(), 0);
  }
  for (size_t at = 0; at < state.size(); ++at) {
    std::vector<uint8_t> changed = state;
    changed[at] ^= 0xff;
    // Where nothing contradicts itself the device may take it, and then works with it or fails.
    if (load(changed)) transport_->frontend().resume();
    transport_->frontend().stop([] {});
    EXPECT_EQ(registers().status(), 0) << at;
  }
  ASSERT_TRUE(load(state).has_value());
}

TEST_F(StateTest, DeviceOfAnotherKindDoesNotTakeIt) {
  build(std::make_unique<FakeDevice>());
  start();
  const std::vector<uint8_t> state = save();
  const auto worker = WorkerThread::create("rng").value();
  build(std::make_unique<RngDevice>(RngOptions{}, *worker));
  const auto loaded = load(state);
  ASSERT_FALSE(loaded.has_value());
  EXPECT_EQ(loaded.error().kind(), ErrorKind::kCorrupt);
}

}  // namespace
}  // namespace hull::virtio
