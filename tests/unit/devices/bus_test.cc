#include "devices/bus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace hull::devices {
namespace {

// Answers reads with its tag and remembers the last offset.
class TaggedDevice final : public BusDevice {
 public:
  explicit TaggedDevice(uint8_t tag) : tag_(tag) {}
  std::string_view name() const override { return "tagged"; }
  void read(uint64_t offset, std::span<uint8_t> data) override {
    offset_ = offset;
    std::ranges::fill(data, tag_);
  }
  void write(uint64_t offset, std::span<const uint8_t> data) override {
    offset_ = offset;
    written_.assign(data.begin(), data.end());
  }

  uint8_t tag_;
  uint64_t offset_ = ~uint64_t{0};
  std::vector<uint8_t> written_;
};

class BusTest : public ::testing::Test {
 protected:
  void add(uint64_t base, uint64_t size, BusDevice& device, int priority = 0) {
    auto region = bus_.map(base, size, device, priority);
    ASSERT_TRUE(region) << region.error().message();
    regions_.push_back(*std::move(region));
  }
  ErrorKind refusal(uint64_t base, uint64_t size, int priority = 0) {
    const auto region = bus_.map(base, size, other_, priority);
    EXPECT_FALSE(region);
    return region ? ErrorKind::kInternal : region.error().kind();
  }
  uint8_t tag_at(uint64_t address, size_t width) {
    std::vector<uint8_t> data(width);
    cpu_.read(address, data);
    return data[0];
  }

  Bus bus_;
  TaggedDevice other_{9};
  std::vector<Bus::Region> regions_;
  Bus::Initiator cpu_{bus_};
};

TEST_F(BusTest, AccessReachesDeviceWithRelativeOffset) {
  TaggedDevice low(1);
  TaggedDevice high(2);
  add(0x200, 8, high);
  add(0x100, 8, low);
  uint8_t data[2] = {};
  EXPECT_TRUE(cpu_.read(0x106, data));
  EXPECT_EQ(data[1], 1);
  EXPECT_EQ(low.offset_, 6u);
  EXPECT_TRUE(cpu_.write(0x200, data));
  EXPECT_EQ(high.offset_, 0u);
  EXPECT_EQ(high.written_.size(), 2u);
}

TEST_F(BusTest, ReadOfNothingIsAllOnes) {
  TaggedDevice device(1);
  uint8_t data[4] = {};
  EXPECT_FALSE(cpu_.read(0x100, data));
  EXPECT_EQ(data[3], 0xff);
  add(0x100, 8, device);
  EXPECT_FALSE(cpu_.read(0xff, {data, 1}));
  EXPECT_EQ(data[0], 0xff);
  EXPECT_FALSE(cpu_.read(0x108, {data, 1}));
  EXPECT_FALSE(cpu_.write(0x108, {data, 1}));
  EXPECT_EQ(device.offset_, ~uint64_t{0});
}

TEST_F(BusTest, AccessAcrossTheEndIsClaimedByNobody) {
  TaggedDevice device(1);
  TaggedDevice neighbour(2);
  add(0x100, 8, device);
  add(0x108, 8, neighbour);
  EXPECT_EQ(tag_at(0x106, 4), 0xff);
  EXPECT_EQ(tag_at(0xfe, 4), 0xff);
}

TEST_F(BusTest, LastByteOfAddressSpaceWorks) {
  TaggedDevice device(7);
  add(UINT64_MAX - 7, 8, device);
  uint8_t data[8] = {};
  EXPECT_TRUE(cpu_.read(UINT64_MAX - 7, data));
  EXPECT_TRUE(cpu_.read(UINT64_MAX, {data, 1}));
  EXPECT_FALSE(cpu_.read(UINT64_MAX, data));
}

TEST_F(BusTest, OverlapAndWrapAroundAreErrors) {
  TaggedDevice device(1);
  add(0x100, 8, device);
  EXPECT_EQ(refusal(0x107, 1), ErrorKind::kBusy);
  EXPECT_EQ(refusal(0xff, 2), ErrorKind::kBusy);
  EXPECT_EQ(refusal(0x100, 8), ErrorKind::kBusy);
  EXPECT_EQ(refusal(0xf0, 0x100), ErrorKind::kBusy);
  EXPECT_EQ(refusal(UINT64_MAX, 2), ErrorKind::kOutOfRange);
  EXPECT_EQ(tag_at(0x100, 8), 1);
  EXPECT_EQ(bus_.map(0x104, 1, device).error().message(), "tagged: tagged is already at 0x100");
}

// The reset register is a byte inside the address register of PCI.
TEST_F(BusTest, HigherPriorityAnswersWhatItHoldsWhole) {
  TaggedDevice pci(1);
  TaggedDevice reset(2);
  add(0xcf8, 8, pci);
  add(0xcf9, 1, reset, 1);
  EXPECT_EQ(tag_at(0xcf8, 4), 1);
  EXPECT_EQ(tag_at(0xcf8, 1), 1);
  EXPECT_EQ(tag_at(0xcf9, 1), 2);
  EXPECT_EQ(reset.offset_, 0u);
  EXPECT_EQ(tag_at(0xcf9, 2), 1);  // no part of it is lost
  EXPECT_EQ(pci.offset_, 1u);
  EXPECT_EQ(tag_at(0xcfa, 1), 1);
  EXPECT_EQ(refusal(0xcf8, 4, 1), ErrorKind::kBusy);
}

TEST_F(BusTest, RegionEndsWithItsObjectAndMovesWithIt) {
  TaggedDevice device(1);
  {
    auto mapped = bus_.map(0x1000, 16, device);
    ASSERT_TRUE(mapped);
    Bus::Region region = *std::move(mapped);
    EXPECT_EQ(tag_at(0x1000, 4), 1);
    Bus::Region elsewhere;
    elsewhere = std::move(region);
    EXPECT_EQ(tag_at(0x1000, 4), 1);
  }
  EXPECT_EQ(tag_at(0x1000, 4), 0xff);
  add(0x1000, 16, other_);
  EXPECT_EQ(tag_at(0x1000, 4), 9);
}

// A write moves the device that it reaches, as a guest's write to a command register does.
class MovingDevice final : public BusDevice {
 public:
  explicit MovingDevice(Bus& bus) : bus_(bus) {}
  std::string_view name() const override { return "moving"; }
  void read(uint64_t, std::span<uint8_t> data) override { std::ranges::fill(data, uint8_t{5}); }
  void write(uint64_t, std::span<const uint8_t> data) override {
    region_ = {};
    auto mapped = bus_.map(uint64_t{data[0]} << 12, 0x1000, *this);
    if (mapped) region_ = *std::move(mapped);
  }

  Bus& bus_;
  Bus::Region region_;
};

TEST_F(BusTest, ADeviceMovesItselfWithinAnAccess) {
  MovingDevice device(bus_);
  const uint8_t one[] = {1}, two[] = {2};
  device.write(0, one);
  EXPECT_EQ(tag_at(0x1ffc, 4), 5);
  EXPECT_TRUE(cpu_.write(0x1000, two));
  EXPECT_EQ(tag_at(0x1ffc, 4), 0xff);
  EXPECT_EQ(tag_at(0x2ffc, 4), 5);
  EXPECT_TRUE(bus_.wait_for_accesses(std::chrono::minutes(1)));
}

// Holds whoever reads it until told to let go.
class SlowDevice final : public BusDevice {
 public:
  std::string_view name() const override { return "slow"; }
  void read(uint64_t, std::span<uint8_t>) override {
    entered_ = true;
    entered_.notify_all();
    released_.wait(false);
  }
  void write(uint64_t, std::span<const uint8_t>) override {}

  std::atomic<bool> entered_{false};
  std::atomic<bool> released_{false};
};

TEST_F(BusTest, AnAccessUnderWayIsWaitedFor) {
  SlowDevice device;
  auto mapped = bus_.map(0, 1, device);
  ASSERT_TRUE(mapped);
  Bus::Region region = *std::move(mapped);
  std::thread vcpu([this] {
    Bus::Initiator initiator(bus_);
    uint8_t byte[1];
    initiator.read(0, byte);
  });
  device.entered_.wait(false);
  EXPECT_TRUE(bus_.wait_for_accesses(std::chrono::milliseconds(0)));  // nothing is gone yet
  region = {};
  EXPECT_FALSE(bus_.wait_for_accesses(std::chrono::milliseconds(1)));
  // Changes go on meanwhile, and do not wait.
  for (int i = 0; i < 100; ++i) add(0x100 + static_cast<uint64_t>(i), 1, other_);
  device.released_ = true;
  device.released_.notify_all();
  EXPECT_TRUE(bus_.wait_for_accesses(std::chrono::minutes(1)));
  vcpu.join();
}

// Readers look up and use devices that come, go and die under them.
TEST_F(BusTest, DevicesComeAndGoUnderReaders) {
  std::atomic<bool> done{false};
  std::atomic<uint64_t> seen{0};
  class AtomicDevice final : public BusDevice {
   public:
    explicit AtomicDevice(std::atomic<uint64_t>& seen) : seen_(seen) {}
    std::string_view name() const override { return "atomic"; }
    void read(uint64_t, std::span<uint8_t> data) override {
      std::ranges::fill(data, uint8_t{3});
      seen_ += alive_;
    }
    void write(uint64_t, std::span<const uint8_t>) override {}
    std::atomic<uint64_t>& seen_;
    uint64_t alive_ = 1;  // read after the device was freed, it is what a sanitizer finds
  };
  AtomicDevice always(seen);
  add(0, 0x100, always);
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i)
    readers.emplace_back([&, i] {
      Bus::Initiator initiator(bus_);
      for (uint64_t n = 0; !done; ++n) {
        uint8_t data[4];
        EXPECT_TRUE(initiator.read(static_cast<uint64_t>(i) * 4, data));
        const bool claimed = initiator.read(0x1000 + n % 8 * 0x100, data);
        EXPECT_EQ(data[0], claimed ? 3 : 0xff);
      }
    });
  std::vector<std::thread> writers;
  for (uint64_t w = 0; w < 2; ++w)
    writers.emplace_back([&, w] {
      for (uint64_t n = 0; n < 300; ++n) {
        auto device = std::make_unique<AtomicDevice>(seen);
        auto region = bus_.map(0x1000 + (n % 4 * 2 + w) * 0x100, 0x100, *device);
        EXPECT_TRUE(region);
        region = Bus::Region();
        EXPECT_TRUE(bus_.wait_for_accesses(std::chrono::minutes(1)));
        device.reset();
      }
    });
  for (std::thread& writer : writers) writer.join();
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_GT(seen, 0u);
}

}  // namespace
}  // namespace hull::devices
