#include "firmware/x86/mp_table.h"

#include <set>

#include "firmware/x86/firmware_tables.h"
#include "firmware/x86/layout.h"
#include "tests/support/boot_images.h"

namespace hull::firmware {
namespace {

using testing::peek;
using testing::peek_bytes;
using Bytes = std::vector<uint8_t>;

class MpTable : public ::testing::Test {
 protected:
  void write() {
    ASSERT_TRUE(write_firmware_tables(memory_, platform_).has_value());
    table_ = peek(memory_, kTables.start + 4, 4);
    static constexpr size_t kSizes[] = {20, 8, 8, 8, 8};
    uint64_t at = table_ + 44;
    for (uint64_t i = 0; i < peek(memory_, table_ + 34, 2); ++i) {
      const uint64_t type = peek(memory_, at, 1);
      ASSERT_LE(type, 4u);
      entries_.push_back(peek_bytes(memory_, at, kSizes[type]));
      at += kSizes[type];
    }
    EXPECT_EQ(at, table_ + peek(memory_, table_ + 4, 2));
  }
  std::vector<Bytes> of_type(uint8_t type) {
    std::vector<Bytes> found;
    for (const Bytes& entry : entries_)
      if (entry[0] == type) found.push_back(entry);
    return found;
  }
  uint8_t sum(uint64_t address, size_t size) {
    uint8_t total = 0;
    for (const uint8_t byte : peek_bytes(memory_, address, size)) total += byte;
    return total;
  }

  GuestMemory memory_ = testing::guest_memory(2);
  Platform platform_ = testing::platform();
  uint64_t table_ = 0;
  std::vector<Bytes> entries_;
};

TEST_F(MpTable, FloatingPointerLeadsToATableThatSumsToZero) {
  write();
  EXPECT_EQ(peek(memory_, kTables.start, 4), 0x5f504d5fu);  // "_MP_"
  EXPECT_EQ(sum(kTables.start, 16), 0);
  EXPECT_EQ(peek(memory_, table_, 4), 0x504d4350u);  // "PCMP"
  EXPECT_EQ(sum(table_, peek(memory_, table_ + 4, 2)), 0);
  EXPECT_EQ(peek(memory_, table_ + 36, 4), 0xfee00000u);
}

TEST_F(MpTable, ProcessorsCarryTheirFlags) {
  platform_.apic_ids = {0, 2, 4};
  write();
  const auto processors = of_type(0);
  ASSERT_EQ(processors.size(), 3u);
  EXPECT_EQ(processors[0][3], 3);  // enabled, boot processor
  EXPECT_EQ(processors[1][1], 2);
  EXPECT_EQ(processors[1][3], 1);
  EXPECT_EQ(processors[2][3], 0);  // not online
}

TEST_F(MpTable, ApicIdsThatDoNotFitAreLeftOut) {
  platform_.apic_ids = {0, 254, 255, 256};
  platform_.online_vcpus = 4;
  write();
  EXPECT_EQ(of_type(0).size(), 2u);
}

TEST_F(MpTable, BusAndIoApicAreListed) {
  write();
  EXPECT_EQ(of_type(1), (std::vector<Bytes>{{1, 0, 'I', 'S', 'A', ' ', ' ', ' '}}));
  EXPECT_EQ(of_type(2), (std::vector<Bytes>{{2, 0, 0x11, 1, 0, 0, 0xc0, 0xfe}}));
}

TEST_F(MpTable, InterruptsCoverIsaAndVirtio) {
  write();
  std::set<uint8_t> pins;
  for (const Bytes& entry : of_type(3)) {
    EXPECT_TRUE(pins.insert(entry[7]).second) << "pin twice";
    EXPECT_EQ(entry[2], entry[5] == 9 ? 13 : 0);  // the SCI is level-triggered
    EXPECT_EQ(entry[7], entry[5] == 0 ? 2 : entry[5]);
  }
  EXPECT_EQ(pins.size(), 16u);  // ISA without the cascade, and GSI 16
  EXPECT_TRUE(pins.contains(16));
  EXPECT_FALSE(pins.contains(0));
}

TEST_F(MpTable, LocalInterruptsAreExternalAndNmi) {
  write();
  EXPECT_EQ(of_type(4),
            (std::vector<Bytes>{{4, 3, 0, 0, 0, 0, 0xff, 0}, {4, 1, 0, 0, 0, 0, 0xff, 1}}));
}

}  // namespace
}  // namespace hull::firmware
