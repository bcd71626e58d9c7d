#include "devices/fw_cfg.h"

#include <gtest/gtest.h>

#include <string>

#include "base/endian.h"

namespace hull::devices {
namespace {

constexpr uint32_t kError = 1, kRead = 2, kSkip = 4, kSelect = 8, kWrite = 16;

class FwCfgTest : public ::testing::Test {
 protected:
  void select(uint16_t key, FwCfg& device) {
    const uint8_t bytes[2] = {static_cast<uint8_t>(key), static_cast<uint8_t>(key >> 8)};
    device.write(FwCfg::kSelector, bytes);
  }
  void select(uint16_t key) { select(key, device_); }
  std::string read(size_t count) {
    std::string text;
    for (size_t i = 0; i < count; ++i) {
      uint8_t byte = 0xee;
      device_.read(FwCfg::kData, std::span(&byte, 1));
      text += static_cast<char>(byte);
    }
    return text;
  }
  // The device's answer in the control field.
  uint32_t transfer(uint32_t control, uint32_t length, uint64_t address, uint64_t at = 0x100) {
    if (const auto order = memory_.slice(GuestAddress{at}, 16)) {
      order->write(0, Be32(control));
      order->write(4, Be32(length));
      order->write(8, Be64(address));
    }
    const Be32 high(static_cast<uint32_t>(at >> 32)), low(static_cast<uint32_t>(at));
    device_.write(FwCfg::kAddressHigh, {reinterpret_cast<const uint8_t*>(&high), 4});
    device_.write(FwCfg::kAddressLow, {reinterpret_cast<const uint8_t*>(&low), 4});
    const auto order = memory_.slice(GuestAddress{at}, 16);
    return order ? order->read<Be32>(0).get() : UINT32_MAX;
  }
  std::string text_at(uint64_t address, size_t length) {
    std::string text(length, '?');
    memory_.slice(GuestAddress{address}, length)
        ->copy_to({reinterpret_cast<uint8_t*>(text.data()), length});
    return text;
  }

  const std::vector<MemoryRegion> regions_{{GuestAddress{0}, 0x10000}};
  GuestMemory memory_ = GuestMemory::create(regions_).value();
  FwCfg device_{
      memory_, {{5, {2, 0}}, {0x8003, {'a'}}}, {{"etc/b", {'B', 'C', 'D'}}, {"bootorder", {}}}};
};

TEST_F(FwCfgTest, ItemsAreReadByteByByteAndEndInZeros) {
  select(FwCfg::kSignature);
  EXPECT_EQ(read(5), std::string("QEMU\0", 5));
  select(FwCfg::kFeatures);
  EXPECT_EQ(read(4), std::string("\3\0\0\0", 4)) << "both ways to read";
  select(5);
  EXPECT_EQ(read(2), std::string("\2\0", 2));
  select(0x8003);
  EXPECT_EQ(read(2), std::string("a\0", 2));
  select(0x1234);
  EXPECT_EQ(read(2), std::string("\0\0", 2)) << "nothing there";
  select(0x4000);
  EXPECT_EQ(read(4), "QEMU") << "the bit of the write channel counts for nothing";
}

// FWCfgFiles: a big-endian count, then 64 bytes for each file, sorted by name.
TEST_F(FwCfgTest, FilesAreInADirectory) {
  select(FwCfg::kDirectory);
  EXPECT_EQ(read(4), std::string("\0\0\0\2", 4));
  EXPECT_EQ(read(64), std::string("\0\0\0\0\0\x20\0\0bootorder", 17) + std::string(47, '\0'));
  EXPECT_EQ(read(64), std::string("\0\0\0\3\0\x21\0\0etc/b", 13) + std::string(51, '\0'));
  select(0x21);
  EXPECT_EQ(read(4), std::string("BCD\0", 4));
}

TEST_F(FwCfgTest, OtherWidthsAndPlacesReadAsNothing) {
  select(FwCfg::kSignature);
  uint8_t two[2] = {};
  device_.read(FwCfg::kData, two);
  EXPECT_EQ(two[0], 0xff);
  device_.read(FwCfg::kSelector, std::span(two).first(1));
  EXPECT_EQ(two[0], 0xff);
  const uint8_t key[1] = {5};
  device_.write(FwCfg::kSelector, key);
  EXPECT_EQ(read(1), "Q") << "a selector has two bytes";
  uint8_t signature[8] = {};
  device_.read(FwCfg::kAddressHigh, std::span(signature).first(4));
  device_.read(FwCfg::kAddressLow, std::span(signature).last(4));
  EXPECT_EQ(std::string(reinterpret_cast<char*>(signature), 8), "QEMU CFG");
}

TEST_F(FwCfgTest, TransfersCopyAndFillUpWithZeros) {
  memory_.slice(GuestAddress{0x200}, 8)->fill('x');
  EXPECT_EQ(transfer(0x210000 | kSelect | kRead, 5, 0x200), 0U);
  EXPECT_EQ(text_at(0x200, 6), std::string("BCD\0\0x", 6));
  EXPECT_EQ(transfer(0x210000 | kSelect | kSkip, 2, 0), 0U);
  EXPECT_EQ(transfer(kRead, 1, 0x200), 0U);
  EXPECT_EQ(text_at(0x200, 1), "D") << "behind what was skipped";
  EXPECT_EQ(transfer(kSkip, UINT32_MAX, 0), 0U);
  EXPECT_EQ(read(1), std::string("\0", 1));
}

TEST_F(FwCfgTest, WhatCannotBeIsAnErrorAndTouchesNothing) {
  EXPECT_EQ(transfer(0x210000 | kSelect | kWrite, 1, 0x200), kError);
  EXPECT_EQ(transfer(kRead, 0x100, 0xff80), kError) << "past the end of memory";
  EXPECT_EQ(transfer(kRead, 1, UINT64_MAX), kError);
  EXPECT_EQ(transfer(kRead, UINT32_MAX, 0), kError);
  EXPECT_EQ(transfer(kSelect | kRead, 1, 0, 0xfff8), UINT32_MAX) << "half an order";
  EXPECT_EQ(transfer(kSelect | kRead, 1, 0, uint64_t{1} << 40), UINT32_MAX);
}

TEST_F(FwCfgTest, AWriteOfTheLowHalfAloneGoesBelow4GiB) {
  EXPECT_EQ(transfer(kSelect | kRead, 4, 0x200), 0U);
  const Be32 low(0x100);
  memory_.slice(GuestAddress{0x100}, 4)->write(0, Be32(kSelect | kRead));
  device_.write(FwCfg::kAddressLow, {reinterpret_cast<const uint8_t*>(&low), 4});
  EXPECT_EQ(memory_.slice(GuestAddress{0x100}, 4)->read<Be32>(0).get(), 0U)
      << "the high half is 0 after each transfer";
}

TEST_F(FwCfgTest, SavedInTheMiddleOfAnItem) {
  select(0x21);
  read(1);
  StateWriter out;
  device_.save(out);
  const std::vector<uint8_t> saved = std::move(out).finish();
  select(0);
  StateReader in(saved);
  ASSERT_TRUE(device_.load(in));
  EXPECT_EQ(read(2), "CD");

  FwCfg other(memory_, {}, {});
  StateReader again(saved);
  EXPECT_FALSE(other.load(again)) << "its item has no such offset";
}

}  // namespace
}  // namespace hull::devices
