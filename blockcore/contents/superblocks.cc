#include "blockcore/contents/superblocks.h"

#include <fmt/core.h>

#include <bit>

#include "base/endian.h"
#include "blockcore/contents/fields.h"

namespace hull::blockcore {
namespace {

using Found = std::optional<FileSystem>;

// Linux, fs/ext4/ext4.h: struct ext4_super_block, at 1024.
Found find_ext(const Fields& disk) {
  constexpr uint32_t kHasJournal = 0x4;       // compat
  constexpr uint32_t kIncompatOfExt3 = 0x16;  // filetype, recover, meta_bg
  constexpr uint32_t kReadOnlyOfExt3 = 0x7;   // sparse_super, large_file, btree_dir
  constexpr uint32_t kIncompatJournal = 0x8;  // the device is a journal
  const Fields super = disk.from(1024);
  if (super.at<Le16>(0x38) != 0xef53) return std::nullopt;
  const uint32_t incompat = super.at<Le32>(0x60);
  const uint32_t read_only = super.at<Le32>(0x64);
  FileSystem found{
      .type = "ext2", .version = "", .label = super.text(0x78, 16), .uuid = super.uuid(0x68)};
  if ((incompat & kIncompatJournal) != 0)
    found.type = "jbd";
  else if ((incompat & ~kIncompatOfExt3) != 0 || (read_only & ~kReadOnlyOfExt3) != 0)
    found.type = "ext4";
  else if ((super.at<Le32>(0x5c) & kHasJournal) != 0)
    found.type = "ext3";
  return found;
}

// XFS Filesystem Structure, "Superblocks".
Found find_xfs(const Fields& disk) {
  if (!disk.has(0, "XFSB")) return std::nullopt;
  const uint32_t block = disk.at<Be32>(4);
  if (!std::has_single_bit(block) || block < 512 || block > 65536) return std::nullopt;
  return FileSystem{"xfs", "", disk.text(108, 12), disk.uuid(32)};
}

// btrfs On-disk Format, "Superblock", at 64 KiB.
Found find_btrfs(const Fields& disk) {
  const Fields super = disk.from(64 << 10);
  if (!super.has(0x40, "_BHRfS_M")) return std::nullopt;
  return FileSystem{"btrfs", "", super.text(0x12b, 256), super.uuid(0x20)};
}

// A volume's serial number as DOS shows it.
std::string fat_serial(uint32_t serial) {
  return serial == 0 ? "" : fmt::format("{:04X}-{:04X}", serial >> 16, serial & 0xffff);
}

bool looks_like_fat(const Fields& boot) {
  const uint16_t sector = boot.at<Le16>(11);
  return boot.byte(510) == 0x55 && boot.byte(511) == 0xaa && std::has_single_bit(sector) &&
         sector >= 512 && sector <= 4096 && std::has_single_bit(boot.byte(13)) &&
         boot.at<Le16>(14) != 0 && boot.byte(16) != 0;
}

// Microsoft's FAT specification, section 3. The file system's name is not to be relied on, but one
// without is rare, and a boot sector that only looks so is not.
Found find_fat(const Fields& disk) {
  if (!looks_like_fat(disk)) return std::nullopt;
  const bool wide = disk.has(82, "FAT32   ");
  if (!wide && !disk.has(54, "FAT")) return std::nullopt;
  FileSystem found{"vfat", disk.text(wide ? 82 : 54, 8), disk.text(wide ? 71 : 43, 11),
                   fat_serial(disk.at<Le32>(wide ? 67 : 39))};
  if (found.label == "NO NAME") found.label.clear();
  return found;
}

Found find_exfat_or_ntfs(const Fields& disk) {
  if (disk.has(3, "EXFAT   ")) return FileSystem{"exfat", "", "", fat_serial(disk.at<Le32>(100))};
  if (!disk.has(3, "NTFS    ")) return std::nullopt;
  return FileSystem{"ntfs", "", "", fmt::format("{:016X}", disk.at<Le64>(72).get())};
}

// Linux, include/linux/swap.h: union swap_header, whose magic ends the first page.
Found find_swap(const Fields& disk) {
  for (size_t page = 4096; page <= (64 << 10); page *= 2)
    if (disk.has(page - 10, "SWAPSPACE2"))
      return FileSystem{"swap", "", disk.text(1052, 16), disk.uuid(1036)};
  return std::nullopt;
}

// LUKS1 On-Disk Format 1.2.3, 2.1; LUKS2 On-Disk Format 1.1.4, 2.1.
Found find_luks(const Fields& disk) {
  if (!disk.has(0, "LUKS\xba\xbe")) return std::nullopt;
  const uint16_t version = disk.at<Be16>(6);
  return FileSystem{"crypto_LUKS", fmt::format("{}", version),
                    version == 2 ? disk.text(24, 48) : "", disk.text(168, 40)};
}

// LVM2, lib/format_text/layout.h: the label is in one of the first four sectors.
Found find_lvm(const Fields& disk) {
  for (size_t offset = 0; offset < 2048; offset += 512) {
    const Fields label = disk.from(offset);
    if (!label.has(0, "LABELONE") || !label.has(24, "LVM2 001")) continue;
    const uint32_t header = label.at<Le32>(20);
    std::string uuid = header <= 480 ? label.text(header, 32) : "";
    if (uuid.size() == 32)
      for (const size_t hyphen : {6U, 11U, 16U, 21U, 26U, 31U}) uuid.insert(hyphen, "-");
    return FileSystem{"LVM2_member", "LVM2 001", "", std::move(uuid)};
  }
  return std::nullopt;
}

// ECMA-119, 8.4: the primary volume descriptor, in sector 16.
Found find_iso(const Fields& disk) {
  const Fields volume = disk.from(32768);
  if (!volume.has(0,
                  "\x01"
                  "CD001"))
    return std::nullopt;
  return FileSystem{"iso9660", "", volume.text(40, 32), ""};
}

Found find_squashfs(const Fields& disk) {
  if (!disk.has(0, "hsqs")) return std::nullopt;
  return FileSystem{"squashfs",
                    fmt::format("{}.{}", disk.at<Le16>(28).get(), disk.at<Le16>(30).get()), "", ""};
}

}  // namespace

std::optional<FileSystem> find_file_system(std::span<const std::byte> start) {
  const Fields disk(start);
  // Those that keep away from the first sectors come last: an older one may have left its magic
  // there.
  for (const auto find : {find_luks, find_lvm, find_xfs, find_squashfs, find_exfat_or_ntfs,
                          find_fat, find_swap, find_btrfs, find_ext, find_iso})
    if (Found found = find(disk)) return found;
  return std::nullopt;
}

}  // namespace hull::blockcore
