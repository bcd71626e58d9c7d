#include "virtio/block_device.h"

#include <gtest/gtest.h>

#include <numeric>
#include <semaphore>
#include <thread>

#include "base/endian.h"
#include "tests/support/fake_driver.h"
#include "tests/support/fake_virtio.h"
#include "tests/support/memory_disk.h"

namespace hull::virtio {
namespace {

using testing::Access;
using testing::FakeDriver;
using testing::FakeInterrupt;
using testing::MemoryDisk;
using testing::stop_and_wait;

constexpr uint64_t kHeader = 0x8000;
constexpr uint64_t kDataAddress = 0x10000;
constexpr uint64_t kStatus = 0xa000;
constexpr uint64_t kFlushFeature = 1 << 9;
constexpr uint64_t kAllFeatures = kFlushFeature | 1 << 13 | 1 << 14;
constexpr uint8_t kUntouched = 0xee;

// A large disk whose back end has stopped answering.
class StalledDisk : public MemoryDisk {
 public:
  StalledDisk() : MemoryDisk(0) { is_held = true; }
  uint64_t size_bytes() const override { return uint64_t{1} << 40; }
  void abandon() override {
    error = ECANCELED;
    release();
  }
};

class BlockDeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    thread_ = std::thread([this] { engine_->run(); });
  }
  void TearDown() override {
    if (device_) stop_and_wait(*device_);
    device_.reset();
    engine_->stop();
    thread_.join();
  }

  void start(uint64_t features = kAllFeatures, BlockOptions options = {.discard = true}) {
    if (!device_) device_.emplace(std::move(options), *disk_in_use_, *engine_);
    DeviceResources resources{FeatureSet(features), {}, &interrupt_};
    resources.queues.emplace_back(
        QueueResources{Queue::create(driver_.config(), memory_).value(), &kick_});
    ASSERT_TRUE(device_->activate(std::move(resources)).has_value());
  }
  // Runs `task` on the engine's thread and waits for it.
  void on_engine(const std::function<void()>& task) {
    std::binary_semaphore done(0);
    engine_->post([&] {
      task();
      done.release();
    });
    done.acquire();
  }
  void write_header(uint32_t type, uint64_t sector) {
    const GuestSlice header = memory_.slice(GuestAddress{kHeader}, 16).value();
    header.write(0, Le32(type));
    header.write(8, Le64(sector));
    memory_.slice(GuestAddress{kStatus}, 1)->write(0, kUntouched);
  }
  void add(uint32_t type, uint64_t sector, uint32_t bytes, Access access) {
    write_header(type, sector);
    driver_.add({{GuestAddress{kHeader}, 16, Access::kRead},
                 {GuestAddress{kDataAddress}, bytes, access},
                 {GuestAddress{kStatus}, 1, Access::kWrite}});
  }
  // A read of `pieces` times 512 KiB, all to the same place.
  void add_large_read(size_t pieces) {
    write_header(0, 0);
    std::vector<testing::Buffer> buffers = {{GuestAddress{kHeader}, 16, Access::kRead}};
    buffers.insert(buffers.end(), pieces, {GuestAddress{0x80000}, 512 << 10, Access::kWrite});
    buffers.push_back({GuestAddress{kStatus}, 1, Access::kWrite});
    driver_.add(buffers);
  }
  // Until the disk has seen so many reads; then a while longer.
  unsigned settled_reads(unsigned expected) {
    unsigned reads = 0;
    while (reads < expected) on_engine([&] { reads = disk_in_use_->reads; });
    for (int i = 0; i < 20; ++i) on_engine([&] { reads = disk_in_use_->reads; });
    return reads;
  }
  uint8_t status() { return memory_.slice(GuestAddress{kStatus}, 1)->read<uint8_t>(); }
  FakeDriver::Used request(uint32_t type, uint64_t sector, uint32_t bytes, Access access) {
    add(type, sector, bytes, access);
    kick_.signal();
    return driver_.wait_used();
  }
  uint64_t config_number(uint64_t offset, size_t bytes) {
    if (!device_) device_.emplace(BlockOptions{}, disk_, *engine_);
    Le64 value(0);
    device_->read_config(offset, {reinterpret_cast<uint8_t*>(&value), bytes});
    return value;
  }

  GuestMemory memory_ = testing::make_memory(1 << 20);
  FakeDriver driver_{memory_, GuestAddress{0x1000}, 256};
  FakeInterrupt interrupt_;
  EventFd kick_ = EventFd::create().value();
  MemoryDisk disk_{64 * 1024};
  StalledDisk stalled_disk_;
  MemoryDisk* disk_in_use_ = &disk_;
  std::unique_ptr<blockcore::IoEngine> engine_ = blockcore::IoEngine::create().value();
  std::thread thread_;
  std::optional<BlockDevice> device_;
};

TEST_F(BlockDeviceTest, WriteAndReadBack) {
  start();
  const GuestSlice data = memory_.slice(GuestAddress{kDataAddress}, 1024).value();
  std::vector<uint8_t> pattern(1024);
  std::iota(pattern.begin(), pattern.end(), uint8_t{1});
  data.copy_from(pattern);

  EXPECT_EQ(request(1, 2, 1024, Access::kRead).length, 1U);
  EXPECT_EQ(status(), 0);
  EXPECT_TRUE(std::equal(pattern.begin(), pattern.end(), disk_.bytes.begin() + 1024));
  data.fill(0);
  EXPECT_EQ(request(0, 2, 1024, Access::kWrite).length, 1025U);
  std::vector<uint8_t> back(1024);
  data.copy_to(back);
  EXPECT_EQ(back, pattern);
  EXPECT_NE(interrupt_.used, 0U);
}

TEST_F(BlockDeviceTest, CapacityLeavesOutAPartialSector) {
  disk_.bytes.resize(64 * 1024 + 511);
  EXPECT_EQ(config_number(0, 8), 128U);
}

TEST_F(BlockDeviceTest, ConfigurationTellsBlockSizesAndLimits) {
  device_.emplace(BlockOptions{.discard = true, .physical_block_size = 4096}, disk_, *engine_);
  EXPECT_EQ(config_number(0x0c, 4), 254U) << "header and status take a descriptor each";
  EXPECT_EQ(config_number(0x14, 4), 512U);
  EXPECT_EQ(config_number(0x18, 1), 3U);
  EXPECT_NE(config_number(0x24, 4), 0U);
  EXPECT_EQ(config_number(0x2c, 4), 8U);
  EXPECT_EQ(config_number(0x38, 1), 1U);
  EXPECT_EQ(config_number(0x3c, 1), 0xffU);
}

TEST_F(BlockDeviceTest, ReadOnlyIsAPropertyOfTheDiskAndFlushSucceeds) {
  disk_.is_read_only = true;
  start(0);
  EXPECT_TRUE((device_->device_features().bits() & 1U << 5) != 0);
  EXPECT_EQ((device_->device_features().bits() & (1U << 13 | 1U << 14)), 0U);
  request(1, 0, 512, Access::kRead);
  EXPECT_EQ(status(), 1);
  EXPECT_EQ(disk_.writes, 0U);
  request(4, 0, 0, Access::kRead);
  EXPECT_EQ(status(), 0);
}

TEST_F(BlockDeviceTest, ReadOnlyOptionProtectsAWritableDisk) {
  start(0, {.read_only = true});
  request(1, 0, 512, Access::kRead);
  EXPECT_EQ(status(), 1);
  EXPECT_EQ(disk_.writes, 0U);
}

TEST_F(BlockDeviceTest, FailureOfTheDiskIsAnIoErrorAndTheDeviceLives) {
  start();
  disk_.error = ENOSPC;
  EXPECT_EQ(request(1, 0, 512, Access::kRead).length, 1U);
  EXPECT_EQ(status(), 1);
  EXPECT_EQ(request(0, 0, 512, Access::kWrite).length, 1U);
  EXPECT_EQ(status(), 1);
  disk_.error = 0;
  request(1, 0, 512, Access::kRead);
  EXPECT_EQ(status(), 0);
  EXPECT_EQ(interrupt_.failures, 0U);
}

TEST_F(BlockDeviceTest, FlushReachesTheDisk) {
  start();
  request(4, 0, 0, Access::kRead);
  EXPECT_EQ(status(), 0);
  EXPECT_EQ(disk_.flushes, 1U);
}

TEST_F(BlockDeviceTest, DriverThatKnowsNoFlushGetsDurableWrites) {
  start(0);
  request(1, 0, 512, Access::kRead);
  EXPECT_EQ(status(), 0);
  EXPECT_EQ(disk_.flushes, 1U);
  request(0, 0, 512, Access::kWrite);
  EXPECT_EQ(disk_.flushes, 1U) << "a read needs none";
}

TEST_F(BlockDeviceTest, DriverThatFlushesItselfDoesNotPayForIt) {
  start(kFlushFeature);
  request(1, 0, 512, Access::kRead);
  EXPECT_EQ(disk_.flushes, 0U);
}

TEST_F(BlockDeviceTest, SerialIsPaddedWithZerosAndNotTerminatedAt20) {
  start(0, {.serial = "0123456789abcdefghijKLM"});
  memory_.slice(GuestAddress{kDataAddress}, 20)->fill(kUntouched);
  EXPECT_EQ(request(8, 0, 20, Access::kWrite).length, 21U);
  std::string id(20, '\0');
  memory_.slice(GuestAddress{kDataAddress}, 20)
      ->copy_to({reinterpret_cast<uint8_t*>(id.data()), id.size()});
  EXPECT_EQ(id, "0123456789abcdefghij");
}

TEST_F(BlockDeviceTest, ZeroesAndDiscardsReachTheDisk) {
  start();
  const GuestSlice range = memory_.slice(GuestAddress{kDataAddress}, 16).value();
  std::ranges::fill(disk_.bytes, kUntouched);
  range.write(0, Le64(1));
  range.write(8, Le32(2));
  range.write(12, Le32(1));
  request(13, 0, 16, Access::kRead);
  EXPECT_EQ(status(), 0);
  EXPECT_TRUE(disk_.unmapped);
  EXPECT_EQ(disk_.bytes[511], kUntouched);
  EXPECT_EQ(disk_.bytes[512], 0);
  EXPECT_EQ(disk_.bytes[1535], 0);
  EXPECT_EQ(disk_.bytes[1536], kUntouched);
  range.write(12, Le32(0));
  request(11, 0, 16, Access::kRead);
  EXPECT_EQ(status(), 0);
  EXPECT_EQ(disk_.discards, 1U);
}

TEST_F(BlockDeviceTest, SpaceIsNotGivenBackUnlessConfigured) {
  start(kAllFeatures, {.discard = false});
  EXPECT_EQ(device_->device_features().bits() & 1U << 13, 0U);
  const GuestSlice range = memory_.slice(GuestAddress{kDataAddress}, 16).value();
  range.write(0, Le64(0));
  range.write(8, Le32(1));
  range.write(12, Le32(1));
  disk_.unmapped = true;
  request(13, 0, 16, Access::kRead);
  EXPECT_EQ(status(), 0);
  EXPECT_FALSE(disk_.unmapped);
}

TEST_F(BlockDeviceTest, ManyRequestsWithOneKickAreAllServed) {
  start();
  for (int i = 0; i < 80; ++i) add(0, 0, 512, Access::kWrite);
  kick_.signal();
  for (int i = 0; i < 80; ++i) driver_.wait_used();
  EXPECT_EQ(disk_.reads, 80U);
}

TEST_F(BlockDeviceTest, BatchMakesOneInterrupt) {
  on_engine([this] { disk_.is_held = true; });
  start();
  for (int i = 0; i < 10; ++i) add(8, 0, 20, Access::kWrite);
  kick_.signal();
  for (int i = 0; i < 10; ++i) driver_.wait_used();
  on_engine([] {});
  EXPECT_EQ(interrupt_.used, 1U);
  on_engine([this] { disk_.release(); });
}

TEST_F(BlockDeviceTest, MalformedRingStopsTheDeviceAndAResetRevivesIt) {
  start();
  driver_.set_available_index(1000);
  kick_.signal();
  interrupt_.wait_for_failure();
  stop_and_wait(*device_);
  driver_ = FakeDriver(memory_, GuestAddress{0x1000}, 256);
  start();
  request(0, 0, 512, Access::kWrite);
  EXPECT_EQ(status(), 0);
}

TEST_F(BlockDeviceTest, StopEndsWithWhatIsInFlightAndAnswersNothing) {
  on_engine([this] { disk_.is_held = true; });
  start();
  add(0, 0, 512, Access::kWrite);
  kick_.signal();
  settled_reads(1);
  std::binary_semaphore stopped(0);
  device_->stop([&] { stopped.release(); });
  for (int i = 0; i < 20; ++i) on_engine([] {});
  EXPECT_FALSE(stopped.try_acquire());
  on_engine([this] { disk_.release(); });
  stopped.acquire();
  EXPECT_EQ(driver_.used_index(), 0);
  EXPECT_EQ(status(), kUntouched);
}

TEST_F(BlockDeviceTest, StopTakesNothingMoreFromTheRing) {
  on_engine([this] { disk_.is_held = true; });
  start();
  add(0, 0, 512, Access::kWrite);
  kick_.signal();
  settled_reads(1);
  std::binary_semaphore stopped(0);
  device_->stop([&] { stopped.release(); });
  add(0, 0, 512, Access::kWrite);
  kick_.signal();
  EXPECT_EQ(settled_reads(1), 1U);
  on_engine([this] { disk_.release(); });
  stopped.acquire();
  EXPECT_EQ(disk_.reads, 1U);
}

TEST_F(BlockDeviceTest, AbandonedBackEndLetsTheDeviceStop) {
  disk_in_use_ = &stalled_disk_;
  start();
  for (int i = 0; i < 3; ++i) add(0, 0, 512, Access::kWrite);
  kick_.signal();
  settled_reads(3);
  std::binary_semaphore stopped(0);
  device_->stop([&] { stopped.release(); });
  for (int i = 0; i < 20; ++i) on_engine([] {});
  EXPECT_FALSE(stopped.try_acquire());
  device_->abandon();
  stopped.acquire();
  EXPECT_EQ(driver_.used_index(), 0);
}

TEST_F(BlockDeviceTest, RequestsThatTogetherAreTooLargeWaitInTheRing) {
  disk_in_use_ = &stalled_disk_;
  start();
  for (int i = 0; i < 3; ++i) add_large_read(64);
  kick_.signal();
  EXPECT_EQ(settled_reads(2), 2U) << "32 MiB each: what is in flight delays a reset";
  on_engine([this] { stalled_disk_.abandon(); });
  for (int i = 0; i < 3; ++i) driver_.wait_used();
  EXPECT_EQ(settled_reads(3), 3U);
}

TEST_F(BlockDeviceTest, RequestAboveTheLargestIsAnErrorAndTheConfigurationKeepsDriversBelow) {
  disk_in_use_ = &stalled_disk_;
  start();
  add_large_read(65);
  kick_.signal();
  EXPECT_EQ(driver_.wait_used().length, 1U);
  EXPECT_EQ(status(), 1);
  EXPECT_EQ(settled_reads(0), 0U);
  EXPECT_NE(device_->device_features().bits() & 1U << 1, 0U) << "SIZE_MAX is valid";
  EXPECT_LE(config_number(0x08, 4) * config_number(0x0c, 4), 32U << 20);
}

TEST_F(BlockDeviceTest, LongRangesAreCutAtMultiplesOfAPiece) {
  disk_in_use_ = &stalled_disk_;
  on_engine([this] { stalled_disk_.is_held = false; });
  start();
  const GuestSlice range = memory_.slice(GuestAddress{kDataAddress}, 16).value();
  range.write(0, Le64((16 << 20) / 512));
  range.write(8, Le32((64 << 20) / 512));
  range.write(12, Le32(0));
  on_engine([this] { stalled_disk_.error = EIO; });
  request(13, 0, 16, Access::kRead);
  EXPECT_EQ(status(), 1);
  EXPECT_EQ(stalled_disk_.zeroes, 1U) << "no piece follows one that failed";
  EXPECT_EQ(stalled_disk_.zeroed_bytes, 16U << 20);
}

TEST_F(BlockDeviceTest, InactiveDeviceCanBeResetAndDestroyed) {
  device_.emplace(BlockOptions{}, disk_, *engine_);
  stop_and_wait(*device_);
}

TEST_F(BlockDeviceTest, QueueThatWasNotSetUpIsNoError) {
  device_.emplace(BlockOptions{}, disk_, *engine_);
  DeviceResources resources{FeatureSet(), {}, &interrupt_};
  resources.queues.emplace_back();
  EXPECT_TRUE(device_->activate(std::move(resources)).has_value());
  stop_and_wait(*device_);
}

}  // namespace
}  // namespace hull::virtio
