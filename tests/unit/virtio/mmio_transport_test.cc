#include "virtio/mmio_transport.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/support/fake_driver.h"
#include "tests/support/fake_virtio.h"

namespace hull::virtio {
namespace {

using testing::FakeDevice;
using testing::FakeDriver;
using testing::FakeLine;
using testing::FakeMmioDriver;

constexpr uint64_t kVersion1 = uint64_t{1} << 32;
constexpr uint32_t kNothing = UINT32_MAX;

class MmioTransportTest : public ::testing::Test {
 protected:
  void start() {
    ASSERT_TRUE(driver_.negotiate(kVersion1));
    driver_.set_up_queue(0, ring_.config());
    driver_.set_driver_ok();
  }
  bool consume_kick(size_t queue) const {
    uint64_t count = 0;
    return ::read(transport_->kick_fd(queue), &count, sizeof count) == sizeof count;
  }

  GuestMemory memory_ = testing::make_memory(1 << 20);
  FakeLine line_;
  FakeDevice* const device_ = new FakeDevice;
  std::unique_ptr<MmioTransport> transport_ =
      MmioTransport::create(std::unique_ptr<VirtioDevice>(device_), memory_, line_).value();
  FakeMmioDriver driver_{*transport_};
  FakeDriver ring_{memory_, GuestAddress{0x1000}, 8};
};

TEST_F(MmioTransportTest, IdentifiesItself) {
  EXPECT_EQ(driver_.read(0x00), 0x74726976U);
  EXPECT_EQ(driver_.read(0x04), 2U);
  EXPECT_EQ(driver_.read(0x08), 2U);
  EXPECT_EQ(driver_.status(), 0);
}

TEST_F(MmioTransportTest, OffersTheDevicesFeaturesAndTheRings) {
  EXPECT_EQ(driver_.offered_features(), kVersion1 | 1U << 28 | 1U << 29 | 0x21U);
  driver_.write(0x14, 2);
  EXPECT_EQ(driver_.read(0x10), 0U);
}

TEST_F(MmioTransportTest, DriverWithoutVersion1IsRefused) {
  EXPECT_FALSE(driver_.negotiate(0x21));
  EXPECT_EQ(driver_.status(), 3);
}

TEST_F(MmioTransportTest, FeatureThatWasNotOfferedIsRefused) {
  EXPECT_FALSE(driver_.negotiate(kVersion1 | 2));
  EXPECT_EQ(driver_.status(), 3);
}

TEST_F(MmioTransportTest, FeaturesChangedAfterFeaturesOkHaveNoEffect) {
  ASSERT_TRUE(driver_.negotiate(kVersion1 | 1));
  driver_.write(0x24, 0);
  driver_.write(0x20, 0x20);
  driver_.set_up_queue(0, ring_.config());
  driver_.set_driver_ok();
  EXPECT_EQ(device_->resources->features.bits(), kVersion1 | 1);
}

TEST_F(MmioTransportTest, DriverOkActivatesWithTheQueuesThatAreReadyAndKicksThem) {
  start();
  EXPECT_EQ(driver_.status(), 15);
  EXPECT_EQ(device_->activations, 1U);
  ASSERT_EQ(device_->resources->queues.size(), 2U);
  EXPECT_TRUE(device_->resources->queues[0].has_value());
  EXPECT_FALSE(device_->resources->queues[1].has_value());
  EXPECT_TRUE(consume_kick(0)) << "a kick before the device listened must not be lost";
}

TEST_F(MmioTransportTest, QueueRegistersWrittenAfterDriverOkAreRefused) {
  start();
  driver_.write(0x30, 0);
  driver_.write(0x38, 4);
  driver_.write(0x80, 0xdead0000);
  driver_.write(0x44, 0);
  EXPECT_EQ(driver_.read(0x44), 1U);
  EXPECT_EQ(device_->resources->queues[0]->queue.size(), 8);
}

TEST_F(MmioTransportTest, QueueRegistersWrittenBeforeFeaturesOkAreRefused) {
  driver_.write(0x70, 3);
  driver_.write(0x30, 0);
  driver_.write(0x44, 1);
  EXPECT_EQ(driver_.read(0x44), 0U);
}

TEST_F(MmioTransportTest, QueueOutsideMemoryNeedsReset) {
  ASSERT_TRUE(driver_.negotiate(kVersion1));
  QueueConfig config = ring_.config();
  config.device = GuestAddress{UINT64_MAX - 3};
  driver_.set_up_queue(0, config);
  driver_.set_driver_ok();
  EXPECT_EQ(device_->activations, 0U);
  EXPECT_EQ(driver_.status(), 15 | kStatusNeedsReset);
  EXPECT_EQ(driver_.read(0x60), 2U);
  EXPECT_EQ(line_.edges, 1U);
}

TEST_F(MmioTransportTest, FailedActivationNeedsResetAndResetClearsIt) {
  device_->refuse = true;
  start();
  EXPECT_EQ(driver_.status(), 15 | kStatusNeedsReset);
  driver_.reset();
  EXPECT_EQ(driver_.status(), 0);
  EXPECT_EQ(device_->stops, 0U) << "it never was active";
  EXPECT_EQ(driver_.read(0x60), 0U);
  device_->refuse = false;
  start();
  EXPECT_EQ(driver_.status(), 15);
}

TEST_F(MmioTransportTest, ResetForgetsEverythingAndTheDeviceCanStartAgain) {
  start();
  driver_.reset();
  EXPECT_EQ(device_->stops, 1U);
  EXPECT_EQ(driver_.status(), 0);
  EXPECT_EQ(driver_.read(0x44), 0U);
  start();
  EXPECT_EQ(device_->activations, 2U);
}

TEST_F(MmioTransportTest, ResetTwiceResetsTheDeviceOnce) {
  start();
  driver_.reset();
  driver_.reset();
  EXPECT_EQ(device_->stops, 1U);
}

TEST_F(MmioTransportTest, InterruptsDuringResetDoNotDeadlockAndLeaveNoTrace) {
  start();
  device_->on_stop = [this] {
    device_->resources->interrupt->used_buffers(0);
    device_->resources->interrupt->device_failed();
    EXPECT_NE(driver_.status(), 0) << "not reset yet";
  };
  driver_.reset();
  EXPECT_EQ(driver_.status(), 0);
  EXPECT_EQ(driver_.read(0x60), 0U);
}

TEST_F(MmioTransportTest, DestructionResetsAnActiveDevice) {
  start();
  bool reset = false;
  device_->on_stop = [&] { reset = true; };
  transport_.reset();
  EXPECT_TRUE(reset);
}

TEST_F(MmioTransportTest, InterruptStatusIsReadWithoutSideEffectAndAcknowledgedByBit) {
  start();
  device_->resources->interrupt->used_buffers(0);
  device_->resources->interrupt->config_changed();
  EXPECT_EQ(line_.edges, 2U);
  EXPECT_EQ(driver_.read(0x60), 3U);
  EXPECT_EQ(driver_.read(0x60), 3U);
  driver_.write(0x64, 1);
  EXPECT_EQ(driver_.read(0x60), 2U);
  EXPECT_EQ(line_.edges, 3U) << "the other event is still pending: a new edge";
  driver_.write(0x64, 2);
  EXPECT_EQ(driver_.read(0x60), 0U);
  EXPECT_EQ(line_.edges, 3U);
}

TEST_F(MmioTransportTest, StatusIsSetBeforeTheEdge) {
  class ReadingLine : public devices::InterruptLine {
   public:
    void trigger() override {
      if (driver != nullptr) seen = driver->read(0x60);
    }
    FakeMmioDriver* driver = nullptr;
    uint32_t seen = 0;
  } line;
  auto* const device = new FakeDevice;
  const auto transport =
      MmioTransport::create(std::unique_ptr<VirtioDevice>(device), memory_, line).value();
  FakeMmioDriver driver(*transport);
  line.driver = &driver;
  driver.negotiate(kVersion1);
  driver.set_driver_ok();
  device->resources->interrupt->used_buffers(0);
  EXPECT_EQ(line.seen, 1U);
}

TEST_F(MmioTransportTest, NeedsResetSurvivesWhatTheDriverWritesBack) {
  start();
  device_->resources->interrupt->device_failed();
  EXPECT_EQ(driver_.status(), 15 | kStatusNeedsReset);
  driver_.write(0x70, driver_.status() | kStatusFailed);
  EXPECT_EQ(driver_.status(), 15 | kStatusNeedsReset | kStatusFailed);
  driver_.reset();
  EXPECT_EQ(driver_.status(), 0);
}

TEST_F(MmioTransportTest, StatusWiderThanAByteIsIgnored) {
  driver_.write(0x70, 0x100);
  driver_.write(0x70, 0x101);
  EXPECT_EQ(driver_.status(), 0);
  EXPECT_EQ(device_->stops, 0U);
}

TEST_F(MmioTransportTest, NotifyingAQueueSignalsItsKick) {
  driver_.kick(1);
  EXPECT_TRUE(consume_kick(1));
  EXPECT_FALSE(consume_kick(0));
}

TEST_F(MmioTransportTest, NotifyingAQueueThatDoesNotExistDoesNothing) {
  for (const uint32_t queue : {2U, 0x10000U, 0x10001U, UINT32_MAX}) driver_.kick(queue);
  EXPECT_FALSE(consume_kick(0));
  EXPECT_FALSE(consume_kick(1));
}

TEST_F(MmioTransportTest, QueueThatDoesNotExistIsNotAvailable) {
  ASSERT_TRUE(driver_.negotiate(kVersion1));
  for (const uint32_t queue : {2U, 0xffffU, 0x10000U, UINT32_MAX}) {
    driver_.write(0x30, queue);
    driver_.write(0x38, 8);
    driver_.write(0x44, 1);
    EXPECT_EQ(driver_.read(0x34), 0U);
    EXPECT_EQ(driver_.read(0x44), 0U);
  }
  driver_.write(0x30, 1);
  EXPECT_EQ(driver_.read(0x34), 16U);
}

TEST_F(MmioTransportTest, SharedMemoryRegionsDoNotExist) {
  driver_.write(0xac, 0);
  for (const uint64_t offset : {0xb0U, 0xb4U, 0xb8U, 0xbcU})
    EXPECT_EQ(driver_.read(offset), kNothing);
}

TEST_F(MmioTransportTest, ConfigurationIsReadAndWrittenAtAnyWidth) {
  std::array<uint8_t, 3> bytes{};
  transport_->read(0x101, bytes);
  EXPECT_EQ(bytes, (std::array<uint8_t, 3>{2, 3, 4}));
  transport_->read(0x107, bytes);
  EXPECT_EQ(bytes, (std::array<uint8_t, 3>{8, 0xff, 0xff}));
  transport_->write(0x102, bytes);
  EXPECT_EQ(device_->config[2], 8);
}

TEST_F(MmioTransportTest, ConfigurationChangeMakesANewGeneration) {
  start();
  const uint32_t before = driver_.read(0xfc);
  device_->resources->interrupt->config_changed();
  EXPECT_NE(driver_.read(0xfc), before);
  EXPECT_EQ(driver_.read(0x60), 2U);
}

TEST_F(MmioTransportTest, ControlRegistersAnswerAlignedWordsAlone) {
  for (uint64_t offset = 0; offset < 0x100; ++offset) {
    for (size_t length = 1; length <= 8; ++length) {
      if (length == 4 && offset % 4 == 0) continue;
      std::array<uint8_t, 8> bytes{};
      transport_->read(offset, std::span(bytes).first(length));
      for (size_t i = 0; i < length; ++i) EXPECT_EQ(bytes[i], 0xff) << offset << " " << length;
      transport_->write(offset, std::span(bytes).first(length));
    }
  }
  EXPECT_EQ(driver_.status(), 0);
  EXPECT_EQ(driver_.read(0x30), kNothing) << "write-only registers read as nothing";
}

// In every state of the device: no access crashes, hangs or reaches outside.
TEST_F(MmioTransportTest, EveryOffsetWidthAndValueIsHarmlessInEveryState) {
  for (const int state : {0, 1, 3, 11, 15}) {
    for (uint64_t offset = 0; offset < MmioTransport::kRegisterBytes; ++offset) {
      for (size_t length = 1; length <= 8; ++length) {
        for (const int fill : {0x00, 0x01, 0x0f, 0x80, 0xff}) {
          driver_.reset();
          if (state >= 1) driver_.write(0x70, 1);
          if (state >= 3) driver_.write(0x70, 3);
          if (state >= 11) driver_.negotiate(kVersion1);
          if (state >= 11) driver_.set_up_queue(0, ring_.config());
          if (state >= 15) driver_.set_driver_ok();
          std::array<uint8_t, 8> bytes;
          bytes.fill(static_cast<uint8_t>(fill));
          transport_->write(offset, std::span(bytes).first(length));
          transport_->read(offset, std::span(bytes).first(length));
        }
      }
    }
  }
  EXPECT_EQ(driver_.read(0x00), 0x74726976U);
}

}  // namespace
}  // namespace hull::virtio
