#include "blockcore/qcow2/references.h"

#include <bit>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/qcow2/snapshot_table.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr uint64_t kMaxClusters = uint64_t{1} << 28;
constexpr uint32_t kMaxBitmaps = 65535;
constexpr uint64_t kMaxBitmapDirectoryBytes = 64 << 20;

// One walk over an image.
struct Walk {
  File& file;
  const Header& header;
  References& references;
  Findings& findings;

  const Geometry& geometry() const { return header.geometry; }
  void count(uint64_t offset, uint64_t bytes) const {
    count_range(offset, bytes, geometry(), references, findings);
  }
};

void check_bitmap(const Walk& walk, L2Entry entry) {
  if (entry.bitmap_is_valid()) return;
  if (entry.compressed())
    walk.findings.corrupt(
        fmt::format("ERROR compressed cluster with non-zero subcluster allocation bitmap, "
                    "entry={:#x}",
                    entry.value));
  else if (entry.host_offset() == 0)
    walk.findings.corrupt(
        fmt::format("ERROR: Unallocated cluster has non-zero subcluster allocation map, "
                    "bitmap={:#x}",
                    entry.bitmap));
  else
    walk.findings.corrupt(fmt::format(
        "ERROR offset={:x}: Allocated cluster has corrupted subcluster allocation bitmap",
        entry.host_offset()));
}

void count_entry(const Walk& walk, L2Entry entry, bool active, uint64_t& next_host) {
  const Geometry& geometry = walk.geometry();
  if (geometry.extended_l2) check_bitmap(walk, entry);
  if (entry.compressed()) {
    if ((entry.value & kCopiedFlag) != 0)
      walk.findings.corrupt(
          fmt::format("ERROR: coffset={:#x}: copied flag must never be set for compressed clusters",
                      entry.value));
    const CompressedExtent extent = compressed_extent(entry, geometry.cluster_bits);
    // The last sector may be cut off by the end of the file.
    walk.count(extent.host_offset, extent.bytes);
    if (!active) return;
    ++walk.findings.allocated_clusters;
    ++walk.findings.compressed_clusters;
    ++walk.findings.fragmented_clusters;  // as qemu-img counts
    return;
  }
  if ((entry.value & kZeroFlag) != 0 && !walk.header.has_zero_flag())
    walk.findings.corrupt(
        fmt::format("ERROR: L2 entry {:#x} has the zero flag in {}", entry.value,
                    walk.header.version < 3 ? "a version 2 image" : "an extended entry"));
  const uint64_t offset = entry.host_offset();
  if (offset == 0) return;
  if (geometry.offset_in_cluster(offset) != 0) {
    walk.findings.corrupt(fmt::format(
        "ERROR offset={:x}: Cluster is not properly aligned; L2 entry corrupted.", offset));
    return;
  }
  walk.count(offset, geometry.cluster_bytes());
  if (!active) return;
  ++walk.findings.allocated_clusters;
  if (next_host != 0 && offset != next_host) ++walk.findings.fragmented_clusters;
  next_host = offset + geometry.cluster_bytes();
}

Task<Result<void>> count_mapping(Walk walk, uint64_t l1_offset, uint64_t l1_entries, bool active) {
  const Geometry& geometry = walk.geometry();
  walk.count(l1_offset, l1_entries * 8);
  CO_TRY(const std::vector<uint64_t> l1, co_await read_table(walk.file, l1_offset, l1_entries));
  const uint64_t words_per_entry = geometry.l2_entry_bytes() / 8;
  uint64_t next_host = 0;
  for (uint64_t i = 0; i < l1.size(); ++i) {
    const uint64_t table = l1[i] & kOffsetMask;
    if (table == 0) continue;
    if (geometry.offset_in_cluster(table) != 0) {
      walk.findings.corrupt(fmt::format(
          "ERROR l2_offset={:x}: Table is not cluster aligned; L1 entry corrupted", table));
      continue;
    }
    walk.count(table, geometry.cluster_bytes());
    if (geometry.cluster_of(table) >= walk.references.clusters()) continue;
    CO_TRY(const std::vector<uint64_t> l2,
           co_await read_table(walk.file, table, geometry.cluster_bytes() / 8));
    for (uint64_t at = 0; at < l2.size(); at += words_per_entry)
      count_entry(walk, {l2[at], words_per_entry == 2 ? l2[at + 1] : 0}, active, next_host);
  }
  co_return {};
}

Task<Result<void>> count_snapshots(Walk walk) {
  if (walk.header.snapshot_count == 0) co_return {};
  CO_TRY(const SnapshotTable table, co_await read_snapshot_table(walk.file, walk.header));
  for (const Snapshot& snapshot : table.snapshots)
    CO_TRY_VOID(co_await count_mapping(walk, snapshot.l1_offset, snapshot.l1_entries, false));
  walk.count(walk.header.snapshots_offset, table.bytes);
  co_return {};
}

struct BitmapsLayout {
  Be32 count;             // 0
  Be32 reserved;          // 4
  Be64 directory_bytes;   // 8
  Be64 directory_offset;  // 16
};
static_assert(sizeof(BitmapsLayout) == 24);

struct BitmapLayout {
  Be64 table_offset;               // 0
  Be32 table_entries;              // 8
  Be32 flags;                      // 12
  unsigned char type;              // 16
  unsigned char granularity_bits;  // 17
  Be16 name_bytes;                 // 18
  Be32 extra_bytes;                // 20
};
static_assert(sizeof(BitmapLayout) == 24);

Task<Result<void>> count_bitmap(Walk walk, BitmapLayout bitmap) {
  const uint64_t bytes = uint64_t{bitmap.table_entries} * 8;
  if (bytes > kMaxBitmapDirectoryBytes || bitmap.table_offset >= kMaxHostBytes)
    co_return fail(ErrorKind::kInvalidFormat, "the bitmap table at {:#x} is too large",
                   bitmap.table_offset.get());
  walk.count(bitmap.table_offset, bytes);
  CO_TRY(const std::vector<uint64_t> entries,
         co_await read_table(walk.file, bitmap.table_offset, bitmap.table_entries));
  for (const uint64_t entry : entries)
    if ((entry & kOffsetMask) != 0)
      walk.count(entry & kOffsetMask, walk.geometry().cluster_bytes());
  co_return {};
}

Task<Result<void>> count_bitmaps(Walk walk) {
  const HeaderExtension* extension = nullptr;
  for (const HeaderExtension& one : walk.header.extensions)
    if (one.type == kExtensionBitmaps) extension = &one;
  BitmapsLayout raw;
  if (extension == nullptr || extension->data.size() < sizeof raw) co_return {};
  std::memcpy(&raw, extension->data.data(), sizeof raw);
  if (raw.count > kMaxBitmaps || raw.directory_bytes > kMaxBitmapDirectoryBytes ||
      raw.directory_offset >= kMaxHostBytes)
    co_return fail(ErrorKind::kInvalidFormat, "the bitmap directory is too large");
  walk.count(raw.directory_offset, raw.directory_bytes);
  std::vector<std::byte> directory(raw.directory_bytes);
  CO_TRY_VOID(co_await read_exactly(walk.file, raw.directory_offset, directory));
  uint64_t at = 0;
  for (uint32_t i = 0; i < raw.count; ++i) {
    BitmapLayout bitmap;
    if (!range_fits<uint64_t>(at, sizeof bitmap, directory.size()))
      co_return fail(ErrorKind::kInvalidFormat, "the bitmap directory ends inside entry {}", i);
    std::memcpy(&bitmap, directory.data() + at, sizeof bitmap);
    CO_TRY_VOID(co_await count_bitmap(walk, bitmap));
    at += align_up<uint64_t>(sizeof bitmap + bitmap.extra_bytes.get() + bitmap.name_bytes.get(), 8);
  }
  co_return {};
}

}  // namespace

Result<References> References::create(uint64_t clusters) {
  if (clusters > kMaxClusters)
    return fail(ErrorKind::kOutOfRange, "the file has {} clusters, too many for a check", clusters);
  auto mapping = TRY(Mapping::anonymous(std::max<uint64_t>(clusters, 1) * sizeof(uint32_t)));
  return References(std::move(mapping), clusters);
}

void count_range(uint64_t offset, uint64_t bytes, const Geometry& geometry, References& references,
                 Findings& findings) {
  if (bytes == 0) return;
  bool outside = !range_fits(offset, bytes, kMaxHostBytes);
  const uint64_t last = geometry.cluster_of(offset + bytes - 1);
  for (uint64_t cluster = geometry.cluster_of(offset); !outside && cluster <= last; ++cluster)
    outside = !references.add(cluster);
  if (outside)
    findings.corrupt(
        fmt::format("ERROR: counting reference for region exceeding the end of the "
                    "file by one cluster or more: offset {:#x} size {:#x}",
                    offset, bytes));
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
  const Walk walk{file, header, references, findings};
  walk.count(0, header.geometry.cluster_bytes());
  CO_TRY_VOID(co_await count_mapping(walk, header.l1_offset, header.l1_entries, true));
  CO_TRY_VOID(co_await count_snapshots(walk));
  co_return co_await count_bitmaps(walk);
}

}  // namespace hull::blockcore::qcow2
