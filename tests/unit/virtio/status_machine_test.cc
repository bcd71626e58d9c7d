#include "virtio/status_machine.h"

#include <gtest/gtest.h>

#include <map>
#include <utility>

namespace hull::virtio {
namespace {

// Brings a machine to `status`, which is one that a driver can reach.
StatusMachine machine_at(uint8_t status) {
  StatusMachine machine;
  for (const int step : {1, 3, 11, 15}) {
    if (machine.value() == (status & 0x7f)) break;
    machine.write(static_cast<uint8_t>(step), true);
  }
  if ((status & kStatusFailed) != 0) machine.write(status, true);
  EXPECT_EQ(machine.value(), status);
  return machine;
}

// Written out a second time, independent of the table in the code: (from, to) -> action.
const std::map<std::pair<int, int>, StatusAction> kAllowed = {
    {{0, 1}, StatusAction::kNone},       {{0, 3}, StatusAction::kNone},
    {{1, 3}, StatusAction::kNone},       {{3, 11}, StatusAction::kNone},
    {{11, 15}, StatusAction::kActivate},
};

TEST(StatusMachine, EveryWriteInEveryStateFollowsTheTable) {
  for (const int from : {0, 1, 3, 11, 15, 0x80, 0x81, 0x83, 0x8b, 0x8f}) {
    for (int to = 0; to <= 0xff; ++to) {
      StatusMachine machine = machine_at(static_cast<uint8_t>(from));
      const StatusAction action = machine.write(static_cast<uint8_t>(to), true);
      const int wanted = to & ~kStatusNeedsReset;
      const auto allowed = kAllowed.find({from, wanted});
      if (to == 0) {
        EXPECT_EQ(action, StatusAction::kReset);
        EXPECT_EQ(machine.value(), from) << "reset() clears it, when the device has stopped";
      } else if (wanted == from) {
        EXPECT_EQ(action, StatusAction::kNone);
      } else if (wanted == (from | kStatusFailed)) {
        EXPECT_EQ(action, StatusAction::kFail);
        EXPECT_EQ(machine.value(), wanted);
      } else if (allowed != kAllowed.end()) {
        EXPECT_EQ(action, allowed->second) << from << " to " << to;
        EXPECT_EQ(machine.value(), wanted);
      } else {
        EXPECT_EQ(action, StatusAction::kRefused) << from << " to " << to;
        EXPECT_EQ(machine.value(), from);
      }
    }
  }
}

TEST(StatusMachine, UnacceptableFeaturesLeaveFeaturesOkClear) {
  StatusMachine machine = machine_at(3);
  EXPECT_EQ(machine.write(11, false), StatusAction::kRefused);
  EXPECT_EQ(machine.value(), 3);
}

TEST(StatusMachine, FeaturesAreTakenBetweenDriverAndFeaturesOkAlone) {
  EXPECT_FALSE(machine_at(1).accepts_features());
  EXPECT_TRUE(machine_at(3).accepts_features());
  EXPECT_FALSE(machine_at(11).accepts_features());
  EXPECT_FALSE(machine_at(0x83).accepts_features());
}

TEST(StatusMachine, QueuesAreTakenBetweenFeaturesOkAndDriverOkAlone) {
  EXPECT_FALSE(machine_at(3).accepts_queues());
  EXPECT_TRUE(machine_at(11).accepts_queues());
  EXPECT_FALSE(machine_at(15).accepts_queues());
}

}  // namespace
}  // namespace hull::virtio
