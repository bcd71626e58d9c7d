#include "blockcore/qcow2/references.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/qcow2/bitmap_directory.h"
#include "blockcore/qcow2/snapshot_table.h"
#include "blockcore/qcow2/table_walk.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr uint64_t kMaxClusters = uint64_t{1} << 28;

// One walk over an image.
struct Walk {
  File& file;
  const Header& header;
  References& references;
  Findings& findings;
  bool fix;

  const Geometry& geometry() const { return header.geometry; }
  void count(uint64_t offset, uint64_t bytes) const {
    count_range(offset, bytes, geometry(), references, findings);
  }
};

// An L2 table and how many L1 entries refer to it.
struct TableUse {
  uint64_t offset;
  uint32_t times;
};

// Follows the entries of L2 tables.
class EntryCounter final : public TableVisitor {
 public:
  // The tables of the active image, in the guest's order: also says how it is laid out.
  explicit EntryCounter(const Walk& walk) : walk_(walk), active_(true) {}
  EntryCounter(const Walk& walk, std::span<const TableUse> uses)
      : walk_(walk), active_(false), uses_(uses) {}

  bool visit(size_t index, std::span<std::byte> table) override {
    times_ = active_ ? 1 : uses_[index].times;
    next_host_ = 0;
    const size_t step = walk_.geometry().l2_entry_bytes();
    bool changed = false;
    for (size_t at = 0; at < table.size(); at += step) {
      L2Entry entry{load_be64(table.data() + at)};
      if (step == 16) entry.bitmap = load_be64(table.data() + at + 8);
      if (entry == L2Entry{}) continue;
      entry.external = walk_.header.has_data_file();
      changed |= count(entry, table.subspan(at, step));
    }
    return changed;
  }

 private:
  // True: the entry was changed.
  bool count(L2Entry entry, std::span<std::byte> bytes) {
    if (walk_.geometry().extended_l2 && !entry.bitmap_is_valid() && !report_bitmap(entry, bytes))
      return true;
    if (entry.compressed()) {
      count_compressed(entry);
      return false;
    }
    if ((entry.value & kL2Reserved) != 0)
      complain("ERROR found l2 entry with reserved bits set: {:x}", entry.value);
    if ((entry.value & kZeroFlag) != 0 && !walk_.header.has_zero_flag())
      complain("ERROR: L2 entry {:#x} has the zero flag, which such an image does not know",
               entry.value);
    const uint64_t offset = entry.host_offset();
    if (!entry.has_host()) return false;
    if (walk_.geometry().offset_in_cluster(offset) != 0 && !report_misaligned(entry, bytes))
      return true;
    if (!entry.external) count_cluster(offset);
    if (active_) count_layout(offset);
    return false;
  }

  void count_compressed(L2Entry entry) {
    if (entry.external) {
      complain("ERROR compressed cluster with data file, entry={:#x}", entry.value);
      return;
    }
    if ((entry.value & kCopiedFlag) != 0)
      complain("ERROR: coffset={:#x}: copied flag must never be set for compressed clusters",
               entry.value & ~kCopiedFlag);
    const CompressedExtent extent = compressed_extent(entry, walk_.geometry().cluster_bits);
    count_range(extent.host_offset, extent.bytes, walk_.geometry(), walk_.references,
                walk_.findings, times_);
    if (!active_) return;
    ++walk_.findings.allocated_clusters;
    ++walk_.findings.compressed_clusters;
    ++walk_.findings.fragmented_clusters;  // as qemu-img counts
  }

  void count_cluster(uint64_t offset) {
    const uint64_t bytes = walk_.geometry().cluster_bytes();
    if (walk_.geometry().offset_in_cluster(offset) == 0 && walk_.references.inside(offset, bytes))
      walk_.references.add(walk_.geometry().cluster_of(offset), times_);
    else
      count_range(offset, bytes, walk_.geometry(), walk_.references, walk_.findings, times_);
  }

  void count_layout(uint64_t offset) {
    ++walk_.findings.allocated_clusters;
    if (next_host_ != 0 && offset != next_host_) ++walk_.findings.fragmented_clusters;
    next_host_ = offset + walk_.geometry().cluster_bytes();
  }

  // False: the entry held no data and was replaced.
  bool report_misaligned(L2Entry entry, std::span<std::byte> bytes) {
    const bool holds_data =
        bytes.size() == 16 ? entry.allocated() != 0 : (entry.value & kZeroFlag) == 0;
    return report("", entry.host_offset(),
                  holds_data
                      ? ": Data cluster is not properly aligned; L2 entry corrupted."
                      : ": Preallocated cluster is not properly aligned; L2 entry corrupted.",
                  holds_data ? std::span<std::byte>{} : bytes);
  }

  // False: the entry was replaced, for nobody knows what it means.
  bool report_bitmap(L2Entry entry, std::span<std::byte> bytes) {
    if (entry.compressed())
      return report("compressed cluster with non-zero subcluster allocation bitmap, ", entry.value,
                    "", bytes);
    if (!entry.has_host())
      return report("Unallocated cluster has non-zero subcluster allocation map, ", entry.bitmap,
                    "", bytes);
    return report("", entry.host_offset(),
                  ": Allocated cluster has corrupted subcluster allocation bitmap", bytes);
  }

  // `replaceable` is empty, or an entry that a repair makes read as zeros (false).
  bool report(std::string_view before, uint64_t value, std::string_view after,
              std::span<std::byte> replaceable) {
    const bool replace = walk_.fix && !replaceable.empty();
    std::string message =
        fmt::format("{} {}offset={:x}{}", replace ? "Repairing" : "ERROR", before, value, after);
    if (!replace) {
      walk_.findings.corrupt(std::move(message), times_);
      return true;
    }
    walk_.findings.note(std::move(message));
    ++walk_.findings.corruptions_fixed;
    const Be64 words[2] = {replaceable.size() == 16 ? 0 : kZeroFlag,
                           L2Entry::make_bitmap(0, kAllSubclusters)};
    std::memcpy(replaceable.data(), words, replaceable.size());
    return false;
  }

  void complain(fmt::format_string<const uint64_t&> format, const uint64_t& value) {
    walk_.findings.corrupt(fmt::format(format, value), times_);
  }

  const Walk& walk_;
  const bool active_;
  const std::span<const TableUse> uses_;
  uint32_t times_ = 1;
  uint64_t next_host_ = 0;
};

// Counts an L1 table and the L2 tables that it names; gives their places.
Task<Result<std::vector<uint64_t>>> count_l1(const Walk& walk, uint64_t offset, uint64_t entries) {
  const Geometry& geometry = walk.geometry();
  walk.count(offset, entries * 8);
  CO_TRY(std::vector<uint64_t> l1, co_await read_table(walk.file, offset, entries));
  size_t found = 0;
  for (const uint64_t entry : l1) {
    if (entry == 0) continue;
    if ((entry & kL1Reserved) != 0)
      walk.findings.corrupt(
          fmt::format("ERROR found L1 entry with reserved bits set: {:x}", entry));
    const uint64_t table = entry & kOffsetMask;
    if (table == 0) continue;
    walk.count(table, geometry.cluster_bytes());
    if (geometry.offset_in_cluster(table) != 0)
      walk.findings.corrupt(fmt::format(
          "ERROR l2_offset={:x}: Table is not cluster aligned; L1 entry corrupted", table));
    else if (walk.references.inside(table, geometry.cluster_bytes()))
      l1[found++] = table;
  }
  l1.resize(found);
  co_return l1;
}

// Sorts by place and joins what is the same.
void merge(std::vector<TableUse>& uses) {
  std::ranges::sort(uses, {}, &TableUse::offset);
  size_t last = 0;
  for (size_t i = 1; i < uses.size(); ++i) {
    if (uses[i].offset == uses[last].offset)
      uses[last].times += uses[i].times;
    else
      uses[++last] = uses[i];
  }
  if (!uses.empty()) uses.resize(last + 1);
}

Task<Result<void>> count_snapshot_mappings(const Walk& walk,
                                           const std::vector<Snapshot>& snapshots) {
  std::vector<TableUse> uses;
  size_t merged = 0;
  for (const Snapshot& snapshot : snapshots) {
    CO_TRY(const std::vector<uint64_t> tables,
           co_await count_l1(walk, snapshot.l1_offset, snapshot.l1_entries));
    for (const uint64_t table : tables) uses.push_back({table, 1});
    if (uses.size() < 2 * merged + 65536) continue;
    merge(uses);
    merged = uses.size();
  }
  merge(uses);
  std::vector<uint64_t> offsets;
  offsets.reserve(uses.size());
  for (const TableUse& use : uses) offsets.push_back(use.offset);
  EntryCounter counter(walk, uses);
  co_return co_await visit_tables(walk.file, offsets, walk.geometry().cluster_bytes(), counter);
}

Task<Result<void>> count_active_mapping(const Walk& walk) {
  CO_TRY(const std::vector<uint64_t> tables,
         co_await count_l1(walk, walk.header.l1_offset, walk.header.l1_entries));
  EntryCounter counter(walk);
  co_return co_await visit_tables(walk.file, tables, walk.geometry().cluster_bytes(), counter);
}

Task<Result<void>> count_snapshots(const Walk& walk) {
  if (walk.header.snapshot_count == 0) co_return {};
  CO_TRY(const SnapshotTable table, co_await read_snapshot_table(walk.file, walk.header));
  for (size_t i = 0; i < table.snapshots.size() && walk.header.version >= 3; ++i)
    if (table.snapshots[i].incomplete) walk.findings.incomplete_snapshots.push_back(i);
  CO_TRY_VOID(co_await count_snapshot_mappings(walk, table.snapshots));
  walk.count(walk.header.snapshots_offset, table.bytes);
  co_return {};
}

// Where the autoclear bit is missing they mean nothing, and their clusters are leaked.
Task<Result<void>> count_bitmaps(Walk walk) {
  CO_TRY(const BitmapDirectory directory, co_await read_bitmap_directory(walk.file, walk.header));
  walk.count(directory.offset, directory.bytes);
  for (const Bitmap& bitmap : directory.bitmaps) {
    walk.count(bitmap.table_offset, uint64_t{bitmap.table_entries} * 8);
    CO_TRY(const std::vector<uint64_t> entries,
           co_await read_table(walk.file, bitmap.table_offset, bitmap.table_entries));
    for (const uint64_t entry : entries)
      if ((entry & kOffsetMask) != 0)
        walk.count(entry & kOffsetMask, walk.geometry().cluster_bytes());
  }
  co_return {};
}

struct EncryptionLayout {
  Be64 offset;  // 0
  Be64 bytes;   // 8
};
static_assert(sizeof(EncryptionLayout) == 16);

void count_encryption_header(const Walk& walk) {
  const HeaderExtension* const extension = walk.header.find_extension(kExtensionEncryption);
  EncryptionLayout raw;
  if (extension == nullptr || extension->data.size() < sizeof raw) return;
  std::memcpy(&raw, extension->data.data(), sizeof raw);
  walk.count(raw.offset, raw.bytes);
}

}  // namespace

Result<References> References::create(uint64_t file_bytes, const Geometry& geometry) {
  const uint64_t clusters = geometry.clusters_for(file_bytes) + 1;
  if (clusters > kMaxClusters)
    return fail(ErrorKind::kOutOfRange, "the file has {} clusters, too many for a check", clusters);
  auto mapping = TRY(Mapping::anonymous(clusters * sizeof(uint32_t)));
  return References(std::move(mapping), clusters, file_bytes + geometry.cluster_bytes());
}

void count_range(uint64_t offset, uint64_t bytes, const Geometry& geometry, References& references,
                 Findings& findings, uint32_t times) {
  if (bytes == 0) return;
  if (!references.inside(offset, bytes)) {
    findings.corrupt(fmt::format("ERROR: counting reference for region exceeding the end of the "
                                 "file by one cluster or more: offset {:#x} size {:#x}",
                                 offset, bytes),
                     times);
    const uint64_t first = geometry.cluster_of(offset);
    references.add_outside({first, geometry.cluster_of(bytes) + 2});
    return;
  }
  const uint64_t last = geometry.cluster_of(offset + bytes - 1);
  for (uint64_t cluster = geometry.cluster_of(offset); cluster <= last; ++cluster)
    references.add(cluster, times);
}

Task<Result<std::vector<uint64_t>>> read_table(File& file, uint64_t offset, uint64_t entries) {
  std::vector<uint64_t> table(entries);
  const iovec buffer{table.data(), entries * 8};
  if (entries != 0) CO_TRY_VOID(co_await file.read_or_zero(offset, {&buffer, 1}));
  for (uint64_t& entry : table) entry = std::bit_cast<Be64>(entry);
  co_return table;
}

Task<Result<void>> count_references(File& file, const Header& header, References& references,
                                    Findings& findings, bool fix) {
  const Walk walk{file, header, references, findings, fix};
  walk.count(0, header.geometry.cluster_bytes());
  CO_TRY_VOID(co_await count_active_mapping(walk));
  CO_TRY_VOID(co_await count_snapshots(walk));
  count_encryption_header(walk);
  co_return co_await count_bitmaps(walk);
}

}  // namespace hull::blockcore::qcow2
