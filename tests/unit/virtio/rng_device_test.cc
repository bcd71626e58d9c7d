#include "virtio/rng_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "tests/support/fake_driver.h"
#include "tests/support/fake_virtio.h"

namespace hull::virtio {
namespace {

using testing::Access;
using testing::FakeDriver;
using testing::FakeInterrupt;
using testing::stop_and_wait;

class RngDeviceTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (device_) stop_and_wait(*device_);
  }
  void start(RngOptions options = {}) {
    if (!device_) device_.emplace(options, *worker_);
    DeviceResources resources{FeatureSet(), {}, &interrupt_};
    resources.queues.emplace_back(
        QueueResources{Queue::create(driver_.config(), memory_).value(), &kick_});
    ASSERT_TRUE(device_->activate(std::move(resources)).has_value());
  }

  GuestMemory memory_ = testing::make_memory(1 << 20);
  FakeDriver driver_{memory_, GuestAddress{0x1000}, 64};
  FakeInterrupt interrupt_;
  EventFd kick_ = EventFd::create().value();
  std::unique_ptr<WorkerThread> worker_ = WorkerThread::create("rng").value();
  std::optional<RngDevice> device_;
};

TEST_F(RngDeviceTest, FillsTheBuffer) {
  start();
  driver_.add(
      {{GuestAddress{0x8000}, 100, Access::kWrite}, {GuestAddress{0x9000}, 156, Access::kWrite}});
  kick_.signal();
  EXPECT_EQ(driver_.wait_used().length, 256U);
  std::vector<uint8_t> bytes(156);
  memory_.slice(GuestAddress{0x9000}, 156)->copy_to(bytes);
  EXPECT_GT(std::ranges::count_if(bytes, [](uint8_t byte) { return byte != 0; }), 100);
}

TEST_F(RngDeviceTest, HugeBufferIsCutTo64KiB) {
  start();
  driver_.add({{GuestAddress{0x10000}, 0x80000, Access::kWrite}});
  kick_.signal();
  EXPECT_EQ(driver_.wait_used().length, 65536U);
  EXPECT_EQ(memory_.slice(GuestAddress{0x20000}, 8)->read<uint64_t>(), 0U);
}

TEST_F(RngDeviceTest, BufferWithNothingToWriteIsGivenBackEmpty) {
  start();
  driver_.add({{GuestAddress{0x8000}, 16, Access::kRead}});
  kick_.signal();
  EXPECT_EQ(driver_.wait_used().length, 0U);
}

TEST_F(RngDeviceTest, RateLimitHandsOutNoMoreThanItsShareAndGoesOnLater) {
  start({.rate_bytes = 100, .rate_period_ms = 20});
  driver_.add({{GuestAddress{0x8000}, 80, Access::kWrite}});
  driver_.add({{GuestAddress{0x9000}, 80, Access::kWrite}});
  driver_.add({{GuestAddress{0xa000}, 80, Access::kWrite}});
  kick_.signal();
  EXPECT_EQ(driver_.wait_used().length, 80U);
  EXPECT_EQ(driver_.wait_used().length, 20U);
  EXPECT_EQ(driver_.wait_used().length, 80U) << "in the next period";
}

TEST_F(RngDeviceTest, MoreRequestsThanOneTurnTakesAreAllServed) {
  start();
  for (int i = 0; i < 60; ++i) driver_.add({{GuestAddress{0x8000}, 8, Access::kWrite}});
  kick_.signal();
  for (int i = 0; i < 60; ++i) EXPECT_EQ(driver_.wait_used().length, 8U);
}

TEST_F(RngDeviceTest, MalformedRingStopsTheDevice) {
  start();
  driver_.set_available_index(65);
  kick_.signal();
  interrupt_.wait_for_failure();
  stop_and_wait(*device_);
}

TEST_F(RngDeviceTest, ResetAndStartAgain) {
  start({.rate_bytes = 10, .rate_period_ms = 3600000});
  driver_.add({{GuestAddress{0x8000}, 80, Access::kWrite}});
  kick_.signal();
  EXPECT_EQ(driver_.wait_used().length, 10U);
  stop_and_wait(*device_);
  driver_ = FakeDriver(memory_, GuestAddress{0x1000}, 64);
  start();
  driver_.add({{GuestAddress{0x8000}, 80, Access::kWrite}});
  kick_.signal();
  EXPECT_EQ(driver_.wait_used().length, 10U) << "a fresh period";
}

TEST(WorkerThread, RunsTasksInOrderOnItsThread) {
  const auto worker = WorkerThread::create("a name that is too long").value();
  std::vector<int> order;
  worker->post([&] { order.push_back(1); });
  worker->call([&] { order.push_back(2); });
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  std::thread::id id;
  worker->call([&] { id = std::this_thread::get_id(); });
  EXPECT_NE(id, std::this_thread::get_id());
}

}  // namespace
}  // namespace hull::virtio
