#include "devices/i8042.h"

#include <gtest/gtest.h>

#include <vector>

#include "tests/support/fake_lines.h"
#include "tests/support/port_access.h"

namespace hull::devices {
namespace {

constexpr uint64_t kData = 0;
constexpr uint64_t kCommand = 4;

class I8042Test : public ::testing::Test {
 protected:
  void command(uint8_t value) { hull::testing::out8(device_, kCommand, value); }
  void data(uint8_t value) { hull::testing::out8(device_, kData, value); }
  uint8_t status() { return hull::testing::in8(device_, kCommand); }
  // Everything in the output buffer.
  std::vector<uint8_t> answers() {
    std::vector<uint8_t> bytes;
    while ((status() & 1) != 0) bytes.push_back(hull::testing::in8(device_, kData));
    return bytes;
  }

  using Bytes = std::vector<uint8_t>;
  hull::testing::FakeLine line_;
  hull::testing::FakePowerEvents events_;
  I8042 device_{events_, line_};
};

TEST_F(I8042Test, PulsingTheResetLineResets) {
  command(0xfe);
  EXPECT_EQ(events_.resets, 1u);
  command(0xff);  // no line is pulsed
  EXPECT_EQ(events_.resets, 1u);
}

TEST_F(I8042Test, OutputPortBitZeroResets) {
  command(0xd1);
  data(0x03);
  EXPECT_EQ(events_.resets, 0u);
  command(0xd1);
  data(0x02);
  EXPECT_EQ(events_.resets, 1u);
}

TEST_F(I8042Test, SelfTestPassesAndSetsTheSystemFlag) {
  EXPECT_EQ(status() & 0x04, 0);
  command(0xaa);
  EXPECT_EQ(answers(), Bytes{0x55});
  EXPECT_NE(status() & 0x04, 0);
}

TEST_F(I8042Test, InputBufferIsNeverFull) {
  command(0xd1);
  EXPECT_EQ(status() & 0x02, 0);
  data(0x03);
  EXPECT_EQ(status() & 0x02, 0);
}

TEST_F(I8042Test, ConfigurationByteIsKept) {
  command(0x60);
  data(0x45);
  command(0x20);
  EXPECT_EQ(answers(), Bytes{0x45});
  command(0xad);
  command(0x20);
  EXPECT_EQ(answers(), Bytes{0x55});
}

// A mouse port is looked for by looping a byte; no mouse flag in the answer means none, at once.
TEST_F(I8042Test, MouseProbeIsAnsweredWithoutAMouse) {
  command(0xd3);
  data(0x5a);
  EXPECT_EQ(status() & 0x21, 0x01);
  EXPECT_EQ(answers(), Bytes{0x5a});
  command(0xa9);
  EXPECT_EQ(answers(), Bytes{0x02});
}

TEST_F(I8042Test, ControllerAnswerReplacesUnreadBytes) {
  data(0xff);
  command(0xaa);
  EXPECT_EQ(answers(), Bytes{0x55});
}

TEST_F(I8042Test, KeyboardAnswersResetIdentifyAndEcho) {
  data(0xff);
  EXPECT_EQ(answers(), (Bytes{0xfa, 0xaa}));
  data(0xee);
  EXPECT_EQ(answers(), Bytes{0xee});
  command(0x60);
  data(0x00);  // translation off
  data(0xf2);
  EXPECT_EQ(answers(), (Bytes{0xfa, 0xab, 0x83}));
}

TEST_F(I8042Test, KeyboardTellsItsScanCodeSet) {
  data(0xf0);
  data(0x00);
  EXPECT_EQ(answers(), (Bytes{0xfa, 0xfa, 0x02}));
  data(0xf0);
  data(0xff);  // a parameter, not the reset command
  EXPECT_EQ(answers(), (Bytes{0xfa, 0xfa}));
}

TEST_F(I8042Test, EveryAnswerInterruptsWhenEnabled) {
  data(0xee);
  EXPECT_EQ(line_.take_edges(), 0u);
  answers();
  command(0x60);
  data(0x01);
  data(0xff);
  EXPECT_EQ(line_.take_edges(), 1u);
  hull::testing::in8(device_, kData);
  EXPECT_EQ(line_.take_edges(), 1u);  // the second byte
  hull::testing::in8(device_, kData);
  EXPECT_EQ(line_.take_edges(), 0u);
}

TEST_F(I8042Test, UnreadAnswersAreBounded) {
  for (int i = 0; i < 1000; ++i) data(0xee);
  EXPECT_EQ(answers().size(), 16u);
}

}  // namespace
}  // namespace hull::devices
