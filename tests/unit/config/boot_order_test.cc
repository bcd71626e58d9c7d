#include "config/boot_order.h"

#include <gtest/gtest.h>

namespace hull::config {
namespace {

DomainConfig three_disks() {
  DomainConfig config;
  for (const char* target : {"vda", "vdb", "vdc"}) {
    DiskConfig disk;
    disk.target = target;
    config.disks.push_back(disk);
  }
  config.disks[1].cdrom = true;
  return config;
}

using Names = std::vector<std::string>;

TEST(BootOrder, AllDisksWhereNothingIsSaid) {
  EXPECT_EQ(boot_order(three_disks()), (Names{"vda", "vdb", "vdc"}));
  EXPECT_EQ(boot_order(DomainConfig{}), Names{});
}

TEST(BootOrder, AKindMeansTheFirstOfIt) {
  DomainConfig config = three_disks();
  config.boot.bios.devices = {BootDevice::kCdrom, BootDevice::kDisk};
  EXPECT_EQ(boot_order(config), (Names{"vdb", "vda"}));
  config.disks[1].cdrom = false;
  EXPECT_EQ(boot_order(config), (Names{"vda"}));
}

TEST(BootOrder, DisksWithAnOrderOfTheirOwnAreTheOnlyOnes) {
  DomainConfig config = three_disks();
  config.disks[2].boot_order = 1;
  config.disks[0].boot_order = 7;
  config.boot.bios.devices = {BootDevice::kCdrom};
  EXPECT_EQ(boot_order(config), (Names{"vdc", "vda"}));
}

}  // namespace
}  // namespace hull::config
