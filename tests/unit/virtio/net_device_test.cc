#include "virtio/net_device.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <csignal>
#include <numeric>
#include <thread>

#include "base/endian.h"
#include "base/unique_fd.h"
#include "tests/support/fake_driver.h"
#include "tests/support/fake_virtio.h"

namespace hull::virtio {
namespace {

using testing::Access;
using testing::FakeDriver;
using testing::FakeInterrupt;
using testing::stop_and_wait;

constexpr uint64_t kMergeable = 1 << 15;
constexpr uint64_t kGuestChecksum = 1 << 1;
constexpr uint64_t kGuestTso4 = 1 << 7;
constexpr uint16_t kSize = 16;

struct Wire {
  UniqueFd near;
  UniqueFd far;
};

// A wire whose ends keep frames apart, as a tap does.
Wire make_wire() {
  int fds[2];
  CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
  return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

struct BackendState {
  std::atomic<unsigned> offloads_set{0};
  std::atomic<bool> checksum{false};
  std::atomic<bool> tso4{false};
  std::atomic<bool> refuse{false};
};

class WireBackend : public NetBackend {
 public:
  WireBackend(UniqueFd fd, BackendState& state) : fd_(std::move(fd)), state_(state) {}
  int fd() const override { return fd_.get(); }
  NetOffloads supported_offloads() const override { return {.checksum = true, .tso4 = true}; }
  std::optional<uint16_t> mtu() const override { return 1400; }
  Result<void> set_offloads(NetOffloads offloads) override {
    ++state_.offloads_set;
    state_.checksum = offloads.checksum;
    state_.tso4 = offloads.tso4;
    if (state_.refuse) return fail(ErrorKind::kIo, "refused");
    return {};
  }

 private:
  UniqueFd fd_;
  BackendState& state_;
};

class NetDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override { ::signal(SIGPIPE, SIG_IGN); }
  void TearDown() override {
    if (device_) stop_and_wait(*device_);
  }

  void make(NetOptions options = {}, bool with_backend = true) {
    if (with_backend) backend_ = std::make_unique<WireBackend>(std::move(wire_.near), state_);
    options.queue_size = kSize;
    device_.emplace(std::move(options), backend_.get(), *worker_);
  }
  void start(uint64_t features = kMergeable) {
    if (!device_) make();
    DeviceResources resources{FeatureSet(features), {}, &interrupt_};
    resources.queues.emplace_back(
        QueueResources{Queue::create(receive_.config(), memory_).value(), &receive_kick_});
    resources.queues.emplace_back(
        QueueResources{Queue::create(transmit_.config(), memory_).value(), &transmit_kick_});
    ASSERT_TRUE(device_->activate(std::move(resources)).has_value());
    worker_->call([] {});
  }
  void add_receive_buffers(int count, uint32_t bytes) {
    for (int i = 0; i < count; ++i) {
      receive_.add({{GuestAddress{next_buffer_}, bytes, Access::kWrite}});
      next_buffer_ += 0x4000;
    }
    receive_kick_.signal();
  }
  static std::vector<uint8_t> frame(size_t bytes) {
    std::vector<uint8_t> data(bytes);
    std::iota(data.begin(), data.end(), uint8_t{0});
    return data;
  }
  void arrive(const std::vector<uint8_t>& data) {
    ASSERT_EQ(::write(wire_.far.get(), data.data(), data.size()), std::ssize(data));
  }
  void transmit(uint32_t bytes) {
    transmit_.add({{GuestAddress{0x80000}, bytes, Access::kRead}});
    transmit_kick_.signal();
  }
  // What left the device; -1 if there is nothing.
  ssize_t departed() {
    uint8_t data[70000];
    return ::read(wire_.far.get(), data, sizeof data);
  }
  std::vector<uint8_t> bytes_at(uint64_t address, size_t count) {
    std::vector<uint8_t> data(count);
    memory_.slice(GuestAddress{address}, count)->copy_to(data);
    return data;
  }
  uint16_t config_u16(uint64_t offset) {
    Le16 value;
    device_->read_config(offset, {reinterpret_cast<uint8_t*>(&value), sizeof value});
    return value;
  }

  static constexpr uint64_t kFirstBuffer = 0x100000;
  GuestMemory memory_ = testing::make_memory(4 << 20);
  FakeDriver receive_{memory_, GuestAddress{0x1000}, kSize};
  FakeDriver transmit_{memory_, GuestAddress{0x2000}, kSize};
  FakeInterrupt interrupt_;
  EventFd receive_kick_ = EventFd::create().value();
  EventFd transmit_kick_ = EventFd::create().value();
  Wire wire_ = make_wire();
  BackendState state_;
  uint64_t next_buffer_ = kFirstBuffer;
  std::unique_ptr<WorkerThread> worker_ = WorkerThread::create("net").value();
  std::unique_ptr<NetBackend> backend_;
  std::optional<NetDevice> device_;
};

TEST_F(NetDeviceTest, FrameFromTheDriverLeaves) {
  start();
  transmit(100);
  EXPECT_EQ(transmit_.wait_used().length, 0U);
  EXPECT_EQ(departed(), 100);
}

TEST_F(NetDeviceTest, FrameFromTheWireArrivesWithItsNumberOfBuffers) {
  start();
  add_receive_buffers(2, 2048);
  std::vector<uint8_t> data = frame(200);
  arrive(data);
  const FakeDriver::Used used = receive_.wait_used();
  EXPECT_EQ(used.length, 200U);
  data[10] = 1;
  data[11] = 0;
  EXPECT_EQ(bytes_at(kFirstBuffer, 200), data);
  worker_->call([] {});
  EXPECT_EQ(interrupt_.used, 1U);
}

TEST_F(NetDeviceTest, LargeFrameIsSpreadOverBuffersThatAreFilledCompletely) {
  start();
  add_receive_buffers(6, 1500);
  std::vector<uint8_t> data = frame(4000);
  arrive(data);
  EXPECT_EQ(receive_.wait_used().length, 1500U);
  EXPECT_EQ(receive_.pop_used()->length, 1500U) << "they appear together";
  EXPECT_EQ(receive_.pop_used()->length, 1000U);
  EXPECT_FALSE(receive_.pop_used().has_value());
  data[10] = 3;
  data[11] = 0;
  std::vector<uint8_t> got = bytes_at(kFirstBuffer, 1500);
  for (const int i : {1, 2}) {
    const auto part =
        bytes_at(kFirstBuffer + 0x4000U * static_cast<unsigned>(i), i == 2 ? 1000 : 1500);
    got.insert(got.end(), part.begin(), part.end());
  }
  EXPECT_EQ(got, data);
}

TEST_F(NetDeviceTest, FrameThatFindsTooFewBuffersWaitsForMoreAndIsWhole) {
  start();
  add_receive_buffers(1, 1500);
  std::vector<uint8_t> data = frame(4000);
  arrive(data);
  worker_->call([] {});
  worker_->call([] {});
  EXPECT_EQ(receive_.used_index(), 0);
  add_receive_buffers(1, 1500);
  worker_->call([] {});
  add_receive_buffers(3, 1500);
  EXPECT_EQ(receive_.wait_used().length, 1500U);
  EXPECT_EQ(receive_.pop_used()->length, 1500U);
  EXPECT_EQ(receive_.pop_used()->length, 1000U);
  EXPECT_EQ(bytes_at(kFirstBuffer + 0x8000, 1000),
            std::vector<uint8_t>(data.begin() + 3000, data.end()));
  arrive(frame(60));
  EXPECT_EQ(receive_.wait_used().length, 60U) << "buffers that were not needed serve the next";
}

TEST_F(NetDeviceTest, WithoutMergeableBuffersAFrameUsesOneOrIsDropped) {
  start(0);
  add_receive_buffers(3, 1526);
  arrive(frame(3000));
  arrive(frame(1526));
  EXPECT_EQ(receive_.wait_used().length, 1526U);
  EXPECT_EQ(bytes_at(kFirstBuffer + 10, 2), (std::vector<uint8_t>{1, 0}));
  worker_->call([] {});
  EXPECT_EQ(receive_.used_index(), 1);
}

TEST_F(NetDeviceTest, FrameLargerThanTheWholeRingIsDroppedAndTheNextArrives) {
  start();
  add_receive_buffers(kSize, 64);
  arrive(frame(2000));
  arrive(frame(100));
  EXPECT_EQ(receive_.wait_used().length, 64U);
  EXPECT_EQ(receive_.pop_used()->length, 36U);
}

TEST_F(NetDeviceTest, FramesWaitInTheBackEndUntilThereAreBuffers) {
  start();
  arrive(frame(100));
  arrive(frame(101));
  worker_->call([] {});
  add_receive_buffers(2, 2048);
  EXPECT_EQ(receive_.wait_used().length, 100U);
  EXPECT_EQ(receive_.wait_used().length, 101U);
}

TEST_F(NetDeviceTest, MoreFramesThanOneTurnTakesAreAllTaken) {
  start();
  int sent = 0;
  int seen = 0;
  add_receive_buffers(kSize, 256);
  while (seen < 400) {
    while (sent < 400 && ::write(wire_.far.get(), frame(60).data(), 60) == 60) ++sent;
    while (receive_.pop_used()) {
      ++seen;
      next_buffer_ = kFirstBuffer;
      add_receive_buffers(1, 256);
    }
    std::this_thread::yield();
  }
  EXPECT_EQ(seen, 400);
}

TEST_F(NetDeviceTest, BlockedBackEndKeepsTheFrameAndGoesOnWhenThereIsRoom) {
  start();
  int filled = 0;
  // The device fills the wire until it blocks.
  while (transmit_.free_descriptors() != 0) {
    transmit(60000);
    worker_->call([] {});
    worker_->call([] {});
    while (transmit_.pop_used()) ++filled;
  }
  EXPECT_GT(filled, 0);
  const auto held = static_cast<int>(transmit_.size());
  int received = 0;
  while (received < filled + held) {
    if (departed() > 0) ++received;
    while (transmit_.pop_used()) {
    }
    std::this_thread::yield();
  }
  EXPECT_EQ(departed(), -1) << "each left once";
}

TEST_F(NetDeviceTest, ThingsThatAreNoFramesAreDroppedAndGivenBack) {
  start();
  transmit(11);
  transmit(25);
  transmit(70000);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(transmit_.wait_used().length, 0U);
  transmit(26);
  transmit_.wait_used();
  EXPECT_EQ(departed(), 26);
}

TEST_F(NetDeviceTest, LinkThatIsDownDropsFramesAndTellsTheDriver) {
  make({.link_up = false});
  start();
  EXPECT_EQ(config_u16(6), 0U);
  add_receive_buffers(1, 2048);
  transmit(100);
  transmit_.wait_used();
  EXPECT_EQ(departed(), -1);
  arrive(frame(100));
  worker_->call([] {});
  worker_->call([] {});
  EXPECT_EQ(receive_.used_index(), 0);
}

TEST_F(NetDeviceTest, WithoutABackEndFramesGoNowhere) {
  make({}, false);
  EXPECT_EQ(device_->device_features().bits() & 0x3f83U, 0U) << "no offloads";
  start();
  EXPECT_EQ(config_u16(6), 1U);
  add_receive_buffers(1, 2048);
  transmit(100);
  EXPECT_EQ(transmit_.wait_used().length, 0U);
}

TEST_F(NetDeviceTest, LostBackEndTakesTheLinkDownOnceAndTheGuestLives) {
  start();
  EXPECT_EQ(config_u16(6), 1U);
  wire_.far.reset();
  while (interrupt_.config == 0) std::this_thread::yield();
  EXPECT_EQ(config_u16(6), 0U);
  transmit(100);
  EXPECT_EQ(transmit_.wait_used().length, 0U);
  worker_->call([] {});
  EXPECT_EQ(interrupt_.config, 1U);
  EXPECT_EQ(interrupt_.failures, 0U);
}

TEST_F(NetDeviceTest, BackEndThatIsGoneIsNotAskedByTheNextDriver) {
  start();
  wire_.far.reset();
  while (interrupt_.config == 0) std::this_thread::yield();
  stop_and_wait(*device_);
  const unsigned before = state_.offloads_set;
  const uint64_t features = device_->device_features().bits();
  start();
  EXPECT_EQ(state_.offloads_set, before);
  EXPECT_EQ(interrupt_.config, 1U) << "its link was down from the beginning";
  EXPECT_EQ(config_u16(6), 0U);
  EXPECT_EQ(device_->device_features().bits(), features);
}

TEST_F(NetDeviceTest, OffloadsAreThoseOfThisDriverAndClearedAtReset) {
  make();
  EXPECT_EQ(state_.offloads_set, 0U);
  start(kMergeable | kGuestChecksum | kGuestTso4);
  EXPECT_TRUE(state_.checksum);
  EXPECT_TRUE(state_.tso4);
  stop_and_wait(*device_);
  EXPECT_FALSE(state_.checksum);
  start(kMergeable | kGuestChecksum);
  EXPECT_TRUE(state_.checksum);
  EXPECT_FALSE(state_.tso4);
}

TEST_F(NetDeviceTest, OffloadsThatTheBackEndLacksAreNotOffered) {
  make();
  EXPECT_NE(device_->device_features().bits() & 1U << 7, 0U);
  EXPECT_EQ(device_->device_features().bits() & 1U << 8, 0U);
}

TEST_F(NetDeviceTest, MtuOfTheBackEndIsTold) {
  make();
  EXPECT_EQ(config_u16(10), 1400U);
  EXPECT_NE(device_->device_features().bits() & 1U << 3, 0U);
}

TEST_F(NetDeviceTest, ConfigurationTellsMacStatusAndMtu) {
  make({.mac = {0x52, 0x54, 0, 1, 2, 3}, .mtu = 9000});
  uint8_t mac[6];
  device_->read_config(0, mac);
  EXPECT_EQ(mac[0], 0x52);
  EXPECT_EQ(mac[5], 3);
  EXPECT_EQ(config_u16(6), 1U);
  EXPECT_EQ(config_u16(10), 9000U);
  EXPECT_NE(device_->device_features().bits() & 1U << 3, 0U);
}

TEST_F(NetDeviceTest, MalformedReceiveRingStopsTheDeviceAndAResetRevivesIt) {
  start();
  receive_.set_available_index(100);
  receive_kick_.signal();
  arrive(frame(100));
  interrupt_.wait_for_failure();
  stop_and_wait(*device_);
  receive_ = FakeDriver(memory_, GuestAddress{0x1000}, kSize);
  transmit_ = FakeDriver(memory_, GuestAddress{0x2000}, kSize);
  start();
  transmit(100);
  transmit_.wait_used();
  EXPECT_EQ(departed(), 100);
}

TEST_F(NetDeviceTest, MalformedTransmitRingStopsTheDevice) {
  start();
  transmit_.set_available_index(100);
  transmit_kick_.signal();
  interrupt_.wait_for_failure();
}

TEST_F(NetDeviceTest, ReceiveBufferWithoutRoomForAHeaderIsMalformed) {
  start();
  add_receive_buffers(1, 11);
  arrive(frame(100));
  interrupt_.wait_for_failure();
}

TEST_F(NetDeviceTest, ResetGivesUpWhatIsHeld) {
  start();
  add_receive_buffers(4, 1500);
  arrive(frame(60000));  // waits for more buffers
  worker_->call([] {});
  worker_->call([] {});
  stop_and_wait(*device_);
  EXPECT_EQ(receive_.used_index(), 0);
}

}  // namespace
}  // namespace hull::virtio
