#include "firmware/x86/device_tree.h"

#include <libfdt.h>

#include <cstring>

#include "tests/support/boot_images.h"

namespace hull::firmware {
namespace {

class DeviceTree : public ::testing::Test {
 protected:
  void build(std::string_view cmdline = "", std::optional<LayoutRange> initrd = std::nullopt) {
    tree_ = build_device_tree(memory_, platform_, cmdline, initrd);
    ASSERT_EQ(fdt_check_full(tree_.data(), tree_.size()), 0);
  }
  std::vector<uint8_t> bytes(const char* path, const char* property) {
    const int node = fdt_path_offset(tree_.data(), path);
    if (node < 0) return {};
    int length = 0;
    const void* value = fdt_getprop(tree_.data(), node, property, &length);
    if (value == nullptr) return {};
    const auto* start = static_cast<const uint8_t*>(value);
    return {start, start + length};
  }
  std::string text(const char* path, const char* property) {
    const auto value = bytes(path, property);
    return value.empty() ? "(none)" : std::string(value.begin(), value.end() - 1);
  }
  std::vector<uint32_t> cells(const char* path, const char* property) {
    std::vector<uint32_t> result;
    const auto value = bytes(path, property);
    for (size_t i = 0; i + 4 <= value.size(); i += 4) {
      uint32_t cell;
      std::memcpy(&cell, value.data() + i, 4);
      result.push_back(__builtin_bswap32(cell));
    }
    return result;
  }
  using Cells = std::vector<uint32_t>;

  GuestMemory memory_ = testing::guest_memory(16);
  Platform platform_ = testing::platform();
  std::vector<uint8_t> tree_;
};

TEST_F(DeviceTree, ChosenCarriesCommandLineAndInitrd) {
  build("console=ttyS0 a=b", LayoutRange{0x1'2345'6000, 0x1'2345'7001});
  EXPECT_EQ(text("/chosen", "bootargs"), "console=ttyS0 a=b");
  EXPECT_EQ(cells("/chosen", "linux,initrd-start"), (Cells{1, 0x23456000}));
  EXPECT_EQ(cells("/chosen", "linux,initrd-end"), (Cells{1, 0x23457001}));
  EXPECT_EQ(text("/chosen", "stdout-path"), "/isa/serial@1,3f8");
}

TEST_F(DeviceTree, NoInitrdLeavesItOut) {
  build();
  EXPECT_EQ(text("/chosen", "bootargs"), "");
  EXPECT_TRUE(bytes("/chosen", "linux,initrd-start").empty());
}

TEST_F(DeviceTree, MemoryAndProcessorsAreListed) {
  platform_.apic_ids = {0, 2, 4};
  build();
  EXPECT_EQ(cells("/memory@0", "reg"), (Cells{0, 0, 0, 16 << 20}));
  EXPECT_EQ(cells("/cpus/cpu@2", "reg"), (Cells{2}));
  EXPECT_LT(fdt_path_offset(tree_.data(), "/cpus/cpu@4"), 0);  // not online
}

TEST_F(DeviceTree, DevicesHaveRegistersAndInterrupts) {
  build();
  EXPECT_EQ(text("/virtio_mmio@d0001000", "compatible"), "virtio,mmio");
  EXPECT_EQ(text("/virtio_mmio@d0001000", "label"), "net0");
  EXPECT_EQ(cells("/virtio_mmio@d0001000", "reg"), (Cells{0, 0xd0001000, 0, 0x200}));
  EXPECT_EQ(cells("/virtio_mmio@d0001000", "interrupts"), (Cells{16, 0}));
  EXPECT_EQ(cells("/", "interrupt-parent"), cells("/interrupt-controller@fec00000", "phandle"));
  EXPECT_EQ(text("/isa/serial@1,3f8", "compatible"), "ns16550a");
  EXPECT_EQ(cells("/isa/serial@1,3f8", "reg"), (Cells{1, 0x3f8, 8}));
  EXPECT_EQ(cells("/isa/serial@1,3f8", "interrupts"), (Cells{4, 0}));
  EXPECT_EQ(cells("/isa/power@1,600", "reg"), (Cells{1, 0x600, 4, 1, 0x604, 2}));
  EXPECT_EQ(cells("/isa/power@1,600", "s5-sleep-type"), (Cells{5}));
  EXPECT_EQ(cells("/isa/reset@1,cf9", "value"), (Cells{6}));
}

TEST_F(DeviceTree, LargestPlatformFits) {
  platform_.apic_ids.clear();
  for (uint32_t i = 0; i < kMaxVcpus; ++i) platform_.apic_ids.push_back(0xf0000000 + i);
  platform_.online_vcpus = kMaxVcpus;
  platform_.virtio_mmio.resize(kMaxVirtioMmioSlots);
  for (uint32_t i = 0; i < kMaxVirtioMmioSlots; ++i) {
    platform_.virtio_mmio[i].base = GuestAddress{0xd0000000 + i * 0x1000};
    platform_.virtio_mmio[i].name = std::string(31, 'n');
  }
  build(std::string(35000, 'x'));
  EXPECT_LT(tree_.size() + 16, kDeviceTree.size());
}

}  // namespace
}  // namespace hull::firmware
