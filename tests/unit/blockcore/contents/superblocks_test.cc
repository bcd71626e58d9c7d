// Superblocks made by hand, field by field, from the formats' specifications.
#include "blockcore/contents/superblocks.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <vector>

namespace hull::blockcore {
namespace {

class Superblock {
 public:
  Superblock& text(size_t offset, std::string_view text) {
    std::memcpy(bytes_.data() + offset, text.data(), text.size());
    return *this;
  }
  Superblock& little(size_t offset, uint64_t value, size_t width) {
    for (size_t i = 0; i < width; ++i) bytes_[offset + i] = std::byte(value >> 8 * i);
    return *this;
  }
  Superblock& counting(size_t offset, size_t length) {
    for (size_t i = 0; i < length; ++i) bytes_[offset + i] = std::byte(i + 1);
    return *this;
  }
  std::optional<FileSystem> find(size_t length = kSuperblockBytes) const {
    return find_file_system(std::span(bytes_).first(length));
  }
  // "TYPE/VERSION/LABEL/UUID"
  std::string described() const {
    const auto found = find();
    if (!found) return "nothing";
    return found->type + "/" + found->version + "/" + found->label + "/" + found->uuid;
  }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_ = std::vector<std::byte>(kSuperblockBytes);
};

constexpr const char* kCountingUuid = "01020304-0506-0708-090a-0b0c0d0e0f10";

Superblock ext(uint32_t compat, uint32_t incompat, uint32_t read_only) {
  Superblock block;
  block.little(1024 + 0x38, 0xef53, 2).text(1024 + 0x78, "root").counting(1024 + 0x68, 16);
  block.little(1024 + 0x5c, compat, 4).little(1024 + 0x60, incompat, 4);
  return block.little(1024 + 0x64, read_only, 4);
}

TEST(Superblocks, ExtGenerationsDifferInTheirFeatures) {
  const std::string rest = std::string("//root/") + kCountingUuid;
  EXPECT_EQ(ext(0, 0x2, 0x3).described(), "ext2" + rest);
  EXPECT_EQ(ext(0x4, 0x6, 0x3).described(), "ext3" + rest);
  EXPECT_EQ(ext(0x3c, 0x2c2, 0x46b).described(), "ext4" + rest);
  EXPECT_EQ(ext(0, 0x2, 0x400).described(), "ext4" + rest) << "without a journal";
  EXPECT_EQ(ext(0, 0x8, 0).described(), "jbd" + rest);
}

TEST(Superblocks, XfsBtrfsAndSquashfs) {
  Superblock xfs;
  xfs.text(0, "XFSB").text(4, std::string_view("\0\0\x10\0", 4)).counting(32, 16).text(108, "data");
  EXPECT_EQ(xfs.described(), std::string("xfs//data/") + kCountingUuid);
  xfs.text(4, std::string_view("\0\0\x10\1", 4));
  EXPECT_EQ(xfs.described(), "nothing") << "no block has 4097 bytes";
  Superblock btrfs;
  btrfs.text(65536 + 0x40, "_BHRfS_M").counting(65536 + 0x20, 16).text(65536 + 0x12b, "pool");
  EXPECT_EQ(btrfs.described(), std::string("btrfs//pool/") + kCountingUuid);
  Superblock squashfs;
  squashfs.text(0, "hsqs").little(28, 4, 2);
  EXPECT_EQ(squashfs.described(), "squashfs/4.0//");
}

Superblock boot_sector() {
  Superblock block;
  block.little(11, 512, 2).little(13, 8, 1).little(14, 32, 2).little(16, 2, 1);
  return block.little(510, 0xaa55, 2);
}

TEST(Superblocks, FatExfatAndNtfs) {
  EXPECT_EQ(boot_sector().described(), "nothing");
  EXPECT_EQ(boot_sector()
                .text(82, "FAT32   ")
                .text(71, "ESP        ")
                .little(67, 0x1234abcd, 4)
                .described(),
            "vfat/FAT32/ESP/1234-ABCD");
  EXPECT_EQ(boot_sector().text(54, "FAT16   ").text(43, "NO NAME    ").described(), "vfat/FAT16//");
  EXPECT_EQ(boot_sector().text(82, "FAT32   ").little(13, 3, 1).described(), "nothing");
  EXPECT_EQ(Superblock().text(3, "EXFAT   ").little(100, 1, 4).described(), "exfat///0000-0001");
  EXPECT_EQ(Superblock().text(3, "NTFS    ").little(72, 0xabc, 8).described(),
            "ntfs///0000000000000ABC");
}

TEST(Superblocks, SwapOfEveryPageSize) {
  for (const size_t page : {4096U, 8192U, 65536U}) {
    Superblock swap;
    swap.text(page - 10, "SWAPSPACE2").text(1052, "swp").counting(1036, 16);
    EXPECT_EQ(swap.described(), std::string("swap//swp/") + kCountingUuid) << page;
  }
}

TEST(Superblocks, LuksAndLvm) {
  Superblock luks;
  luks.text(0, std::string_view("LUKS\xba\xbe\0\1", 8)).text(168, "aaaa-bbbb");
  EXPECT_EQ(luks.described(), "crypto_LUKS/1//aaaa-bbbb");
  luks.text(7, "\2").text(24, "vault");
  EXPECT_EQ(luks.described(), "crypto_LUKS/2/vault/aaaa-bbbb");
  Superblock lvm;
  lvm.text(512, "LABELONE").little(512 + 20, 32, 4).text(512 + 24, "LVM2 001");
  lvm.text(512 + 32, "abcdefghijklmnopqrstuvwxyz012345");
  EXPECT_EQ(lvm.described(), "LVM2_member/LVM2 001//abcdef-ghij-klmn-opqr-stuv-wxyz-012345");
  lvm.little(512 + 20, 0xfffffff0, 4);
  EXPECT_EQ(lvm.described(), "LVM2_member/LVM2 001//");
}

TEST(Superblocks, IsoImage) {
  Superblock iso;
  iso.text(32768, "\1").text(32769, "CD001").text(32768 + 40, "DEBIAN 12 AMD64                 ");
  EXPECT_EQ(iso.described(), "iso9660//DEBIAN 12 AMD64/");
}

TEST(Superblocks, TextsFromTheDiskAreHarmless) {
  Superblock block = ext(0, 2, 0);
  block.text(1024 + 0x78,
             "a\x1b[31m\xff"
             "b");
  EXPECT_EQ(block.find()->label, "a\\x1b[31m\\xffb");
}

TEST(Superblocks, WhatIsCutOffIsNotRead) {
  Superblock block = ext(0, 2, 0);
  block.text(65536 + 0x40, "_BHRfS_M");
  EXPECT_EQ(block.find(0), std::nullopt);
  EXPECT_EQ(block.find(1024 + 0x38), std::nullopt);
  EXPECT_EQ(block.find(1024 + 0x7a)->label, "ro");
  EXPECT_EQ(block.find(65536)->type, "ext2");
  EXPECT_EQ(block.find()->type, "btrfs");
}

}  // namespace
}  // namespace hull::blockcore
