#include "blockcore/qcow2/check/references.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <numeric>
#include <tuple>

#include "base/endian.h"
#include "blockcore/qcow2/check/l2_references.h"
#include "blockcore/qcow2/format/bitmap_directory.h"
#include "blockcore/qcow2/format/encryption.h"
#include "blockcore/qcow2/format/snapshot_table.h"

namespace hull::blockcore::qcow2 {
namespace {

// A LUKS header with all its slots has a few MiB.
constexpr uint64_t kMaxEncryptionBytes = uint64_t{1} << 30;

// Counts a structure that nothing else may overlap. False: some of it is not in the file.
bool count_structure(const ReferenceWalk& walk, uint64_t offset, uint64_t bytes,
                     StructureKind kind = StructureKind::kOther) {
  const Geometry& geometry = walk.geometry();
  if (!walk.count(offset, bytes)) return false;
  if (bytes == 0) return true;
  const uint64_t first = geometry.cluster_of(offset);
  const uint64_t last = geometry.cluster_of(offset + bytes - 1);
  walk.references.structures().push_back({first, static_cast<uint32_t>(last - first + 1), 1, kind});
  return offset + bytes <= walk.file.size_bytes();
}

// What some structure refers to nobody knows.
void give_up(const ReferenceWalk& walk, const std::string& why) {
  walk.findings.unfollowed = true;
  walk.findings.corrupt("ERROR " + why);
}

// Counts an L1 table and the L2 tables that it names; gives their places.
Task<Result<std::vector<uint64_t>>> count_l1(const ReferenceWalk& walk, uint64_t offset,
                                             uint64_t entries) {
  const Geometry& geometry = walk.geometry();
  if (!count_structure(walk, offset, entries * 8, StructureKind::kL1))
    walk.findings.unfollowed = true;
  CO_TRY(std::vector<uint64_t> l1, co_await read_table(walk.file, offset, entries));
  size_t found = 0;
  for (const uint64_t entry : l1) {
    if (entry == 0) continue;
    if ((entry & kL1Reserved) != 0)
      walk.findings.corrupt(
          fmt::format("ERROR found L1 entry with reserved bits set: {:x}", entry));
    const uint64_t table = entry & kOffsetMask;
    if (table == 0 && (entry & kCopiedFlag) != 0)
      walk.findings.corrupt(fmt::format(
          "ERROR found L1 entry that names no L2 table and has COPIED set: {:x}", entry));
    if (table == 0) continue;
    walk.count(table, geometry.cluster_bytes());
    if (geometry.offset_in_cluster(table) != 0)
      walk.findings.corrupt(fmt::format(
          "ERROR l2_offset={:x}: Table is not cluster aligned; L1 entry corrupted", table));
    else if (walk.references.inside(table, geometry.cluster_bytes()))
      l1[found++] = table;
    if (geometry.offset_in_cluster(table) != 0 ||
        table + geometry.cluster_bytes() > walk.file.size_bytes())
      walk.findings.unfollowed = true;
  }
  l1.resize(found);
  co_return l1;
}

// Sorts by place and joins what is the same.
void merge(std::vector<StructureUse>& uses) {
  const auto place = [](const StructureUse& use) {
    return std::tuple(use.first, use.clusters, use.kind);
  };
  std::ranges::sort(uses, {}, place);
  size_t last = 0;
  for (size_t i = 1; i < uses.size(); ++i) {
    if (place(uses[i]) == place(uses[last]) && uses[i].kind != StructureKind::kOther)
      uses[last].times += uses[i].times;
    else
      uses[++last] = uses[i];
  }
  if (!uses.empty()) uses.resize(last + 1);
}

void add_tables(const ReferenceWalk& walk, const std::vector<uint64_t>& tables,
                std::vector<StructureUse>& uses) {
  for (const uint64_t table : tables)
    uses.push_back({walk.geometry().cluster_of(table), 1, 1, StructureKind::kL2});
}

Task<Result<void>> count_snapshot_mappings(const ReferenceWalk& walk,
                                           const std::vector<Snapshot>& snapshots) {
  std::vector<StructureUse> uses;
  size_t merged = 0;
  for (const Snapshot& snapshot : snapshots) {
    if (!snapshot.damage.empty()) {
      give_up(walk, snapshot.damage);
      continue;
    }
    CO_TRY(const std::vector<uint64_t> tables,
           co_await count_l1(walk, snapshot.l1_offset, snapshot.l1_entries));
    add_tables(walk, tables, uses);
    if (uses.size() < 2 * merged + 65536) continue;
    merge(uses);
    merged = uses.size();
  }
  merge(uses);
  CO_TRY_VOID(co_await count_entries(walk, TablesOf::kSnapshots, uses));
  std::vector<StructureUse>& all = walk.references.structures();
  all.insert(all.end(), uses.begin(), uses.end());
  co_return {};
}

Task<Result<void>> count_active_mapping(const ReferenceWalk& walk) {
  CO_TRY(const std::vector<uint64_t> tables,
         co_await count_l1(walk, walk.header.l1_offset, walk.header.l1_entries));
  std::vector<StructureUse> uses;
  add_tables(walk, tables, uses);
  join_repeated(uses);
  std::vector<StructureUse>& all = walk.references.structures();
  all.insert(all.end(), uses.begin(), uses.end());
  co_return co_await count_entries(walk, TablesOf::kActive, uses);
}

Task<Result<void>> count_snapshots(const ReferenceWalk& walk) {
  if (walk.header.snapshot_count == 0) co_return {};
  CO_TRY(const SnapshotTable table, co_await read_snapshot_table(walk.file, walk.header));
  for (size_t i = 0; i < table.snapshots.size() && walk.header.version >= 3; ++i)
    if (table.snapshots[i].incomplete) walk.findings.incomplete_snapshots.push_back(i);
  if (!table.cut.empty()) give_up(walk, table.cut);
  CO_TRY_VOID(co_await count_snapshot_mappings(walk, table.snapshots));
  count_structure(walk, walk.header.snapshots_offset, table.bytes);
  co_return {};
}

// Where the autoclear bit is missing they mean nothing, and their clusters are leaked.
Task<Result<void>> count_bitmaps(ReferenceWalk walk) {
  Result<BitmapDirectory> read = co_await read_bitmap_directory(walk.file, walk.header);
  if (!read && read.error().is_of_host()) co_return std::unexpected(std::move(read).error());
  if (!read) {
    give_up(walk, read.error().message());
    co_return {};
  }
  const BitmapDirectory& directory = *read;
  count_structure(walk, directory.offset, directory.bytes);
  for (const Bitmap& bitmap : directory.bitmaps) {
    if (!count_structure(walk, bitmap.table_offset, uint64_t{bitmap.table_entries} * 8))
      walk.findings.unfollowed = true;
    CO_TRY(const std::vector<uint64_t> entries,
           co_await read_table(walk.file, bitmap.table_offset, bitmap.table_entries));
    for (const uint64_t entry : entries)
      if ((entry & kOffsetMask) != 0)
        walk.count(entry & kOffsetMask, walk.geometry().cluster_bytes());
  }
  co_return {};
}

// If nobody knows where it is, it must not come to count as free.
void count_encryption_header(const ReferenceWalk& walk) {
  const Result<std::optional<EncryptionArea>> area = find_encryption_area(walk.header);
  const bool lies = walk.header.encryption_method != kEncryptionLuks &&
                    walk.header.find_extension(kExtensionEncryption) != nullptr;
  if (area && !*area && !lies) return;
  if (lies)
    give_up(walk, "the header names an encryption header but not LUKS as its method");
  else if (!area)
    give_up(walk, area.error().message());
  else if ((*area)->length > kMaxEncryptionBytes)
    give_up(walk, fmt::format("the encryption header at {:#x} has {:#x} bytes", (*area)->offset,
                              (*area)->length));
  else
    count_structure(walk, (*area)->offset, (*area)->length);
}

// Each table whose clusters have other users: what it says is not to be trusted, and writing to it
// would destroy what the others have there.
void report_overlaps(const ReferenceWalk& walk) {
  merge(walk.references.structures());
  const uint64_t snapshots = walk.geometry().cluster_of(walk.header.snapshots_offset);
  for (const StructureUse& structure : walk.references.structures()) {
    if (walk.references.is_alone(structure)) continue;
    walk.findings.corrupt(
        fmt::format("ERROR the table at {:#x} is where something else is, too: it is left as it is",
                    walk.geometry().offset_of(structure.first)));
    // A wrong length of one entry, and those behind it are not found.
    if (walk.header.snapshot_count != 0 && structure.first == snapshots)
      walk.findings.unfollowed = true;
  }
}

}  // namespace

Result<References> References::create(uint64_t file_bytes, const Geometry& geometry) {
  const uint64_t countable = kMaxRefcountTableBytes / 8 * geometry.refcounts_per_block();
  const uint64_t whole = std::min(geometry.clusters_for(file_bytes), countable);
  auto counts = TRY(ReferenceCounts::create(whole + 1));
  const uint64_t limit_bytes =
      std::min(file_bytes, geometry.offset_of(whole)) + geometry.cluster_bytes();
  return References(std::move(counts), limit_bytes);
}

Result<void> References::check_counted() const {
  if (!counts_.exhausted()) return {};
  return fail(
      ErrorKind::kOutOfRange,
      "so many clusters are in use that counting them would need more than {} GiB of memory",
      ReferenceCounts::kMaxBytes >> 30);
}

std::vector<uint64_t> References::sole_l2_tables(const Geometry& geometry) const {
  std::vector<uint64_t> tables;
  for (const StructureUse& use : structures_)
    if (use.kind == StructureKind::kL2 && is_alone(use))
      tables.push_back(geometry.offset_of(use.first));
  return tables;
}

bool References::is_sole_l1(uint64_t offset, const Geometry& geometry) const {
  return std::ranges::any_of(structures_, [&](const StructureUse& use) {
    return use.kind == StructureKind::kL1 && use.first == geometry.cluster_of(offset) &&
           is_alone(use);
  });
}

void join_repeated(std::vector<StructureUse>& uses) {
  std::vector<uint32_t> order(uses.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, {}, [&](uint32_t i) { return std::pair(uses[i].first, i); });
  for (size_t i = 1, same = 0; i < order.size(); ++i) {
    if (uses[order[i]].first != uses[order[same]].first) {
      same = i;
      continue;
    }
    uses[order[same]].times += std::exchange(uses[order[i]].times, 0);
  }
  std::erase_if(uses, [](const StructureUse& use) { return use.times == 0; });
}

bool count_range(uint64_t offset, uint64_t bytes, const Geometry& geometry, References& references,
                 Findings& findings, uint32_t times) {
  if (bytes == 0) return true;
  const uint64_t first = geometry.cluster_of(offset);
  uint64_t end = 0;
  const bool inside = references.inside(offset, bytes);
  if (inside) {
    end = geometry.cluster_of(offset + bytes - 1) + 1;
  } else {
    findings.corrupt(fmt::format("ERROR: counting reference for region exceeding the end of the "
                                 "file by one cluster or more: offset {:#x} size {:#x}",
                                 offset, bytes),
                     times);
    references.add_outside({first, geometry.cluster_of(bytes) + 2});
    // Compared are all clusters that have counters, so all of those are counted.
    end = references.clusters();
    if (offset < kMaxHostBytes && bytes < kMaxHostBytes)
      end = std::min(end, geometry.cluster_of(offset + bytes - 1) + 1);
  }
  for (uint64_t cluster = first; cluster < end; ++cluster) references.add(cluster, times);
  return inside;
}

Task<Result<std::vector<uint64_t>>> read_table(File& file, uint64_t offset, uint64_t entries) {
  std::vector<uint64_t> table(entries);
  const iovec buffer{table.data(), entries * 8};
  if (entries != 0) CO_TRY_VOID(co_await file.read_or_zero(offset, {&buffer, 1}));
  for (uint64_t& entry : table) entry = std::bit_cast<Be64>(entry);
  co_return table;
}

Task<Result<void>> count_references(File& file, const Header& header, References& references,
                                    Findings& findings) {
  const ReferenceWalk walk{file, header, references, findings};
  count_structure(walk, 0, header.geometry.cluster_bytes());
  CO_TRY_VOID(co_await count_active_mapping(walk));
  CO_TRY_VOID(co_await count_snapshots(walk));
  count_encryption_header(walk);
  CO_TRY_VOID(co_await count_bitmaps(walk));
  report_overlaps(walk);
  co_return references.check_counted();
}

}  // namespace hull::blockcore::qcow2
