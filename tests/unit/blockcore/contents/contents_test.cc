// Disks with partitions, healthy and not.
#include "blockcore/contents/contents.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include "tests/support/memory_disk.h"
#include "tests/support/run_now.h"

namespace hull::blockcore {
namespace {

using testing::MemoryDisk;
using testing::run_now;

constexpr uint64_t kDiskBytes = 4 << 20;

void put(MemoryDisk& disk, size_t offset, uint64_t value, size_t width) {
  for (size_t i = 0; i < width; ++i) disk.bytes[offset + i] = static_cast<uint8_t>(value >> 8 * i);
}
void put(MemoryDisk& disk, size_t offset, std::string_view text) {
  std::ranges::copy(text, disk.bytes.begin() + static_cast<ptrdiff_t>(offset));
}

// A file system that is easy to write.
void put_squashfs(MemoryDisk& disk, size_t offset) {
  put(disk, offset, "hsqs");
  put(disk, offset + 28, 4, 2);
}

struct GptEntry {
  uint64_t first, last;
  std::u16string_view name;
};

// A GPT with its header in `sector` and its entries behind (or, at the end, before) it.
void put_gpt(MemoryDisk& disk, uint64_t sector, const std::vector<GptEntry>& entries,
             size_t sector_bytes = 512) {
  constexpr uint32_t kCount = 8;
  const size_t header = sector * sector_bytes;
  const size_t table = sector == 1 ? 2 * sector_bytes : (sector - 4) * sector_bytes;
  for (size_t i = 0; i < entries.size(); ++i) {
    const size_t at = table + i * 128;
    put(disk, at, "typetypetypetype");
    put(disk, at + 16, i + 1, 16 / 2);
    put(disk, at + 32, entries[i].first, 8);
    put(disk, at + 40, entries[i].last, 8);
    for (size_t c = 0; c < entries[i].name.size(); ++c)
      put(disk, at + 56 + 2 * c, entries[i].name[c], 2);
  }
  put(disk, header, "EFI PART");
  put(disk, header + 12, 92, 4);
  put(disk, header + 24, sector, 8);
  put(disk, header + 56, 0xabcd, 2);
  put(disk, header + 72, table / sector_bytes, 8);
  put(disk, header + 80, kCount, 4);
  put(disk, header + 84, 128, 4);
  put(disk, header + 88, ::crc32(0, disk.bytes.data() + table, kCount * 128), 4);
  put(disk, header + 16, 0, 4);
  put(disk, header + 16, ::crc32(0, disk.bytes.data() + header, 92), 4);
}

void put_dos_entry(MemoryDisk& disk, uint64_t sector, size_t index, uint8_t type, uint32_t first,
                   uint32_t count) {
  const size_t at = sector * 512 + 446 + index * 16;
  put(disk, at + 4, type, 1);
  put(disk, at + 8, first, 4);
  put(disk, at + 12, count, 4);
  put(disk, sector * 512 + 510, 0xaa55, 2);
}

// "TYPE; NUMBER@OFFSET+LENGTH NAME FILESYSTEM; …; REMARKS"
std::string described(MemoryDisk& disk) {
  const auto contents = run_now(read_contents(disk));
  if (!contents) return contents.error().message();
  std::string text = contents->whole ? contents->whole->type + "; " : "";
  if (!contents->table) return text + "no table";
  text += contents->table->type;
  for (size_t i = 0; i < contents->table->partitions.size(); ++i) {
    const Partition& one = contents->table->partitions[i];
    const auto& found = contents->file_systems[i];
    text +=
        fmt::format("; {}@{}+{} {}{}{}", one.number, one.offset_bytes / 512, one.length_bytes / 512,
                    one.name, one.name.empty() ? "" : " ", found ? found->type : "-");
  }
  for (const std::string& remark : contents->table->remarks) text += "; " + remark;
  return text;
}

TEST(Contents, EmptyDiskHoldsNothing) {
  MemoryDisk disk(kDiskBytes);
  EXPECT_EQ(described(disk), "no table");
  MemoryDisk tiny(0);
  EXPECT_EQ(described(tiny), "no table");
}

TEST(Contents, FileSystemWithoutTable) {
  MemoryDisk disk(512);
  put_squashfs(disk, 0);
  EXPECT_EQ(described(disk), "squashfs; no table");
}

TEST(Contents, GptPartitionsAndTheirFileSystems) {
  MemoryDisk disk(kDiskBytes);
  put_gpt(disk, 1, {{40, 47, u"boot"}, {48, 100, u"w\u00fcrze \U0001f600"}});
  put_squashfs(disk, 40 * 512);
  EXPECT_EQ(described(disk), "gpt; 1@40+8 boot squashfs; 2@48+53 w\u00fcrze \U0001f600 -");
}

TEST(Contents, GptWithLargeSectors) {
  MemoryDisk disk(kDiskBytes);
  put_gpt(disk, 1, {{8, 8, u"a"}}, 4096);
  EXPECT_EQ(described(disk), "gpt; 1@64+8 a -");
}

TEST(Contents, DamagedGptHasACopyAtTheEnd) {
  MemoryDisk disk(kDiskBytes);
  put_gpt(disk, 1, {{40, 47, u"a"}});
  put_gpt(disk, kDiskBytes / 512 - 1, {{40, 47, u"b"}});
  disk.bytes[512 + 60] ^= 1;
  EXPECT_EQ(described(disk),
            "gpt; 1@40+8 b -; the first table is damaged or missing: this is its copy");
}

TEST(Contents, EntriesThatLieAreLeftOut) {
  MemoryDisk disk(kDiskBytes);
  put_gpt(disk, 1,
          {{40, 39, u"a"}, {8000, 9000, u"b"}, {0, ~uint64_t{0}, u"c"}, {8191, 8191, u"d"}});
  EXPECT_EQ(described(disk),
            "gpt; 4@8191+1 d -"
            "; partition 1 (from sector 40 on) does not lie on the disk, which has 8192 sectors"
            "; partition 2 (from sector 8000 on) does not lie on the disk, which has 8192 sectors"
            "; partition 3 (from sector 0 on) does not lie on the disk, which has 8192 sectors");
}

TEST(Contents, GptHeaderThatLiesIsNone) {
  const std::pair<size_t, uint64_t> lies[] = {{84, 64},  {84, 192},     {84, 1 << 30}, {12, 91},
                                              {12, 513}, {72, 1 << 20}, {24, 2}};
  for (const auto& [offset, value] : lies) {
    SCOPED_TRACE(offset);
    MemoryDisk disk(kDiskBytes);
    put_gpt(disk, 1, {{40, 47, u"a"}});
    put(disk, 512 + offset, value, 4);
    put(disk, 512 + 16, 0, 4);
    put(disk, 512 + 16, ::crc32(0, disk.bytes.data() + 512, 92), 4);
    EXPECT_EQ(described(disk), "no table");
  }
}

TEST(Contents, NumberOfGptEntriesIsBounded) {
  MemoryDisk disk(kDiskBytes);
  put_gpt(disk, 1, {{40, 47, u"a"}});
  put(disk, 512 + 80, 0xffffffff, 4);
  put(disk, 512 + 16, 0, 4);
  put(disk, 512 + 16, ::crc32(0, disk.bytes.data() + 512, 92), 4);
  EXPECT_EQ(described(disk),
            "gpt; 1@40+8 a -; of 4294967295 entries only the first 128 were looked at");
}

TEST(Contents, DosTableWithLogicalPartitions) {
  MemoryDisk disk(kDiskBytes);
  put_dos_entry(disk, 0, 0, 0x83, 8, 8);
  put_dos_entry(disk, 0, 1, 0x0f, 100, 1000);
  put_dos_entry(disk, 100, 0, 0x82, 2, 20);
  put_dos_entry(disk, 100, 1, 0x05, 50, 100);
  put_dos_entry(disk, 150, 0, 0x83, 1, 10);
  put_squashfs(disk, 8 * 512);
  put_squashfs(disk, 151 * 512);
  EXPECT_EQ(described(disk), "dos; 1@8+8 squashfs; 2@100+1000 -; 5@102+20 -; 6@151+10 squashfs");
}

TEST(Contents, LoopOfLogicalPartitionsEnds) {
  MemoryDisk disk(kDiskBytes);
  put_dos_entry(disk, 0, 0, 0x05, 100, 1000);
  put_dos_entry(disk, 100, 1, 0x05, 50, 100);
  put_dos_entry(disk, 150, 1, 0x05, 50, 100);
  EXPECT_EQ(described(disk), "dos; 1@100+1000 -; only the first 128 partitions were looked at");
  EXPECT_LT(disk.reads, 200U);
}

TEST(Contents, LogicalPartitionsThatAreNotThere) {
  MemoryDisk disk(kDiskBytes);
  put_dos_entry(disk, 0, 0, 0x05, 0xfffffff0, 1000);
  put_dos_entry(disk, 0, 1, 0x05, 100, 1000);
  EXPECT_EQ(described(disk),
            "dos; 2@100+1000 -; partition 1 (from sector 4294967280 on) does not lie on the disk, "
            "which has 8192 sectors; sector 4294967280 is no extended boot record");
}

TEST(Contents, BootSectorOfAFileSystemIsNoTable) {
  MemoryDisk disk(kDiskBytes);
  put_dos_entry(disk, 0, 0, 0x83, 8, 8);
  put(disk, 3, "NTFS    ");
  EXPECT_EQ(described(disk), "ntfs; no table");
  MemoryDisk code(kDiskBytes);
  put_dos_entry(code, 0, 0, 0x83, 8, 8);
  put(code, 446, 0x7f, 1);
  EXPECT_EQ(described(code), "no table");
}

TEST(Contents, DiskThatCannotBeReadIsAnError) {
  MemoryDisk disk(kDiskBytes);
  disk.error = 5;
  EXPECT_FALSE(run_now(read_contents(disk)));
}

}  // namespace
}  // namespace hull::blockcore
