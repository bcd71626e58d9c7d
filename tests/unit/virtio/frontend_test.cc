#include "virtio/frontend.h"

#include <gtest/gtest.h>

#include "tests/support/fake_driver.h"
#include "tests/support/fake_virtio.h"

namespace hull::virtio {
namespace {

using testing::FakeDevice;

class FakeEvents : public FrontendEvents {
 public:
  void used_buffers(size_t) override {}
  void config_changed() override {}
  void device_failed() override {}
  void was_reset() override { ++resets; }
  unsigned resets = 0;
};

class FrontendTest : public ::testing::Test {
 protected:
  void make(std::chrono::milliseconds patience) {
    frontend_ = Frontend::create(std::unique_ptr<VirtioDevice>(device_), memory_, events_, patience)
                    .value();
    for (const uint8_t status : {kStatusAcknowledge, uint8_t{3}}) frontend_->write_status(status);
    frontend_->accept_features(1, 1);
    for (const uint8_t status : {uint8_t{11}, uint8_t{15}}) frontend_->write_status(status);
    ASSERT_EQ(frontend_->status(), 15);
  }

  GuestMemory memory_ = testing::make_memory(1 << 20);
  FakeEvents events_;
  FakeDevice* const device_ = new FakeDevice;
  std::unique_ptr<Frontend> frontend_;
};

TEST_F(FrontendTest, ResetEndsWhenTheDeviceHasStoppedAndBlocksNobody) {
  make(std::chrono::hours(1));
  device_->holds_back = true;
  EXPECT_EQ(frontend_->write_status(0), StatusAction::kReset);
  EXPECT_EQ(frontend_->status(), 15) << "2.4: not 0 before the reset is complete";
  EXPECT_EQ(frontend_->write_status(1), StatusAction::kRefused);
  EXPECT_EQ(frontend_->write_status(0), StatusAction::kRefused);
  EXPECT_EQ(device_->stops, 1U);
  EXPECT_EQ(device_->abandoned, 0U);
  const unsigned resets = events_.resets;
  device_->finish_stop();
  EXPECT_EQ(events_.resets, resets + 1);
  EXPECT_EQ(frontend_->status(), 0);
  EXPECT_EQ(frontend_->write_status(1), StatusAction::kNone);
}

TEST_F(FrontendTest, DriverThatWaitsTooLongMakesTheDeviceGiveUpItsBackEndOnce) {
  make(std::chrono::milliseconds(0));
  device_->holds_back = true;
  frontend_->write_status(0);
  EXPECT_EQ(device_->abandoned, 0U) << "nobody has asked";
  EXPECT_NE(frontend_->status(), 0);
  EXPECT_NE(frontend_->status(), 0);
  EXPECT_EQ(device_->abandoned, 1U);
  device_->finish_stop();
  EXPECT_EQ(frontend_->status(), 0);
}

TEST_F(FrontendTest, TearDownDuringADriversResetWaitsForTheSameEnd) {
  make(std::chrono::hours(1));
  device_->holds_back = true;
  frontend_->write_status(0);
  unsigned stopped = 0;
  frontend_->stop([&] { ++stopped; });
  frontend_->abandon();
  EXPECT_EQ(device_->stops, 1U);
  EXPECT_EQ(device_->abandoned, 1U);
  EXPECT_EQ(stopped, 0U);
  device_->finish_stop();
  EXPECT_EQ(stopped, 1U);
}

TEST_F(FrontendTest, StoppingAnInactiveDeviceIsDoneAtOnce) {
  make(std::chrono::hours(1));
  unsigned stopped = 0;
  frontend_->stop([&] { ++stopped; });
  frontend_->stop([&] { ++stopped; });
  EXPECT_EQ(stopped, 2U);
  EXPECT_EQ(device_->stops, 1U);
  frontend_->abandon();
  EXPECT_EQ(device_->abandoned, 0U);
}

}  // namespace
}  // namespace hull::virtio
