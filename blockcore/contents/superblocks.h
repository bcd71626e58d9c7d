// What a file system, or something else that fills a partition, says about itself in its first
// bytes. Pure functions over a copy of them; they believe nothing and allocate next to nothing.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace hull::blockcore {

// The words of libblkid. Texts come from the disk: UTF-8 or not, without control characters.
struct FileSystem {
  std::string type;     // "ext4", "xfs", "vfat", "crypto_LUKS", "LVM2_member", …
  std::string version;  // "FAT32", "2"; empty: none or not known
  std::string label;
  std::string uuid;
};

// All that is looked at: up to the end of btrfs's first superblock.
inline constexpr size_t kSuperblockBytes = (64 << 10) + 4096;

// nullopt: nothing that is known. `start` may be shorter than kSuperblockBytes.
std::optional<FileSystem> find_file_system(std::span<const std::byte> start);

}  // namespace hull::blockcore
