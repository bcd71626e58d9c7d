#include "blockcore/contents/partition_table.h"

#include <fmt/core.h>
#include <zlib.h>

#include <bit>

#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/contents/disk_bytes.h"
#include "blockcore/contents/fields.h"
#include "blockcore/contents/superblocks.h"

namespace hull::blockcore {
namespace {

using Bytes = std::vector<std::byte>;

constexpr uint64_t kSectorBytes = 512;

uint32_t crc_of(std::span<const std::byte> bytes) {
  return static_cast<uint32_t>(
      ::crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size())));
}

// Puts the partition into the table if it lies on the disk.
void add_partition(const Disk& disk, uint64_t sector_bytes, uint64_t first, uint64_t count,
                   Partition partition, PartitionTable& table) {
  const uint64_t sectors = disk.size_bytes() / sector_bytes;
  if (count == 0 || !range_fits(first, count, sectors)) {
    table.remarks.push_back(fmt::format(
        "partition {} (from sector {} on) does not lie on the disk, which has {} sectors",
        partition.number, first, sectors));
    return;
  }
  partition.offset_bytes = first * sector_bytes;
  partition.length_bytes = count * sector_bytes;
  table.partitions.push_back(std::move(partition));
}

// UEFI 2.10, 5.3.2 and 5.3.3.
constexpr size_t kGptHeaderBytes = 92;
constexpr uint32_t kMinEntryBytes = 128;
constexpr uint32_t kMaxEntryBytes = 1024;

struct GptHeader {
  uint64_t entries_sector;
  uint32_t entries;
  uint32_t entry_bytes;
  uint32_t entries_crc;
  std::string guid;
};

// The header in this sector, if it says of itself that it is there.
std::optional<GptHeader> decode_gpt(Bytes sector, uint64_t number) {
  const Fields raw(sector);
  const uint32_t header_bytes = raw.at<Le32>(12);
  if (!raw.has(0, "EFI PART") || header_bytes < kGptHeaderBytes || header_bytes > sector.size() ||
      raw.at<Le64>(24) != number)
    return std::nullopt;
  const uint32_t crc = raw.at<Le32>(16);
  GptHeader header{.entries_sector = raw.at<Le64>(72),
                   .entries = raw.at<Le32>(80),
                   .entry_bytes = raw.at<Le32>(84),
                   .entries_crc = raw.at<Le32>(88),
                   .guid = raw.guid(56)};
  std::fill_n(sector.begin() + 16, 4, std::byte{});
  if (crc_of(std::span(sector).first(header_bytes)) != crc) return std::nullopt;
  if (header.entry_bytes < kMinEntryBytes || header.entry_bytes > kMaxEntryBytes ||
      !std::has_single_bit(header.entry_bytes))
    return std::nullopt;
  return header;
}

void add_gpt_entry(const Disk& disk, uint64_t sector_bytes, const Fields& entry, unsigned number,
                   PartitionTable& table) {
  constexpr uint64_t kLegacyBootable = 4;  // attribute bit 2
  std::string type = entry.guid(0);
  if (type.empty()) return;
  const uint64_t first = entry.at<Le64>(32);
  const uint64_t last = entry.at<Le64>(40);
  Partition partition{.number = number,
                      .type = std::move(type),
                      .name = entry.text16(56, 72),
                      .uuid = entry.guid(16),
                      .active = (entry.at<Le64>(48) & kLegacyBootable) != 0};
  // last - first + 1 is 0, and so refused, where it does not exist.
  const uint64_t count = last >= first ? last - first + 1 : 0;
  add_partition(disk, sector_bytes, first, count, std::move(partition), table);
}

Task<Result<std::optional<PartitionTable>>> read_gpt_at(Disk& disk, uint64_t sector_bytes,
                                                        uint64_t sector) {
  CO_TRY(Bytes raw, co_await read_at_most(disk, sector * sector_bytes, sector_bytes));
  const std::optional<GptHeader> header = decode_gpt(std::move(raw), sector);
  if (!header || header->entries_sector >= disk.size_bytes() / sector_bytes) co_return std::nullopt;
  const auto count = std::min<uint32_t>(header->entries, kMaxPartitions);
  CO_TRY(const Bytes entries, co_await read_at_most(disk, header->entries_sector * sector_bytes,
                                                    uint64_t{count} * header->entry_bytes));
  if (count == header->entries && crc_of(entries) != header->entries_crc) co_return std::nullopt;
  PartitionTable table{.type = "gpt", .uuid = header->guid, .partitions = {}, .remarks = {}};
  if (count != header->entries)
    table.remarks.push_back(fmt::format("of {} entries only the first {} were looked at",
                                        header->entries, kMaxPartitions));
  for (unsigned i = 0; i < count; ++i)
    add_gpt_entry(disk, sector_bytes, Fields(entries).from(size_t{i} * header->entry_bytes), i + 1,
                  table);
  co_return std::optional(std::move(table));
}

// The table at the start of the disk, else its copy at the end.
Task<Result<std::optional<PartitionTable>>> read_gpt(Disk& disk) {
  for (const uint64_t sector_bytes : {kSectorBytes, uint64_t{4096}}) {
    const uint64_t sectors = disk.size_bytes() / sector_bytes;
    if (sectors < 3) continue;
    CO_TRY(std::optional<PartitionTable> first, co_await read_gpt_at(disk, sector_bytes, 1));
    if (first) co_return first;
    CO_TRY(std::optional<PartitionTable> copy,
           co_await read_gpt_at(disk, sector_bytes, sectors - 1));
    if (!copy) continue;
    copy->remarks.emplace_back("the first table is damaged or missing: this is its copy");
    co_return copy;
  }
  co_return std::nullopt;
}

constexpr size_t kDosEntries = 446;
constexpr unsigned kFirstLogical = 5;

struct DosEntry {
  uint8_t status;
  uint8_t type;
  uint32_t first;
  uint32_t count;

  bool is_extended() const { return type == 0x05 || type == 0x0f || type == 0x85; }
};

DosEntry dos_entry(const Fields& sector, unsigned index) {
  const size_t at = kDosEntries + size_t{index} * 16;
  return {sector.byte(at), sector.byte(at + 4), sector.at<Le32>(at + 8), sector.at<Le32>(at + 12)};
}

bool is_boot_record(const Fields& sector) {
  return sector.byte(510) == 0x55 && sector.byte(511) == 0xaa;
}

void add_dos_entry(const Disk& disk, const DosEntry& entry, uint64_t base, unsigned number,
                   PartitionTable& table) {
  Partition partition{.number = number,
                      .type = fmt::format("0x{:02x}", entry.type),
                      .name = {},
                      .uuid = {},
                      .active = entry.status == 0x80};
  add_partition(disk, kSectorBytes, base + entry.first, entry.count, std::move(partition), table);
}

// Each logical partition has a boot record of its own, which names the next.
Task<Result<void>> read_logical(Disk& disk, uint64_t extended, PartitionTable& table) {
  uint64_t record = extended;
  for (unsigned number = kFirstLogical; number <= kMaxPartitions; ++number) {
    CO_TRY(const Bytes bytes, co_await read_at_most(disk, record * kSectorBytes, kSectorBytes));
    const Fields sector(bytes);
    if (!is_boot_record(sector)) {
      table.remarks.push_back(fmt::format("sector {} is no extended boot record", record));
      co_return {};
    }
    const DosEntry logical = dos_entry(sector, 0);
    const DosEntry next = dos_entry(sector, 1);
    if (logical.type != 0) add_dos_entry(disk, logical, record, number, table);
    if (!next.is_extended() || next.first == 0) co_return {};
    record = extended + next.first;
  }
  table.remarks.push_back(
      fmt::format("only the first {} partitions were looked at", kMaxPartitions));
  co_return {};
}

// Boot sectors of file systems end with the same two bytes.
bool is_dos_table(const Bytes& bytes) {
  const Fields sector(bytes);
  if (!is_boot_record(sector)) return false;
  const auto other = find_file_system(bytes);
  if (other && (other->type == "vfat" || other->type == "ntfs" || other->type == "exfat"))
    return false;
  bool any = false;
  for (unsigned i = 0; i < 4; ++i) {
    const DosEntry entry = dos_entry(sector, i);
    if (entry.status != 0 && entry.status != 0x80) return false;
    any = any || entry.type != 0;
  }
  return any;
}

Task<Result<std::optional<PartitionTable>>> read_dos(Disk& disk) {
  CO_TRY(const Bytes bytes, co_await read_at_most(disk, 0, kSectorBytes));
  if (!is_dos_table(bytes)) co_return std::nullopt;
  const Fields sector(bytes);
  const uint32_t signature = sector.at<Le32>(440);
  PartitionTable table{.type = "dos",
                       .uuid = signature == 0 ? "" : fmt::format("{:08x}", signature),
                       .partitions = {},
                       .remarks = {}};
  std::optional<uint64_t> extended;
  for (unsigned i = 0; i < 4; ++i) {
    const DosEntry entry = dos_entry(sector, i);
    if (entry.type != 0) add_dos_entry(disk, entry, 0, i + 1, table);
    if (entry.is_extended() && !extended) extended = entry.first;
  }
  if (extended) CO_TRY_VOID(co_await read_logical(disk, *extended, table));
  co_return std::optional(std::move(table));
}

}  // namespace

Task<Result<std::optional<PartitionTable>>> read_partition_table(Disk& disk) {
  CO_TRY(std::optional<PartitionTable> gpt, co_await read_gpt(disk));
  if (gpt) co_return gpt;
  co_return co_await read_dos(disk);
}

}  // namespace hull::blockcore
