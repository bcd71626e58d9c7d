#include "blockcore/qcow2/check/l2_references.h"

#include <cstring>

#include "base/endian.h"
#include "blockcore/qcow2/format/l2_entry.h"
#include "blockcore/qcow2/mapping/table_walk.h"

namespace hull::blockcore::qcow2 {
namespace {

// Follows the entries of L2 tables.
class EntryCounter final : public TableVisitor {
 public:
  // The tables of the active image, in the guest's order: also says how it is laid out.
  explicit EntryCounter(const ReferenceWalk& walk) : walk_(walk), active_(true) {}
  EntryCounter(const ReferenceWalk& walk, std::span<const TableUse> uses)
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

  const ReferenceWalk& walk_;
  const bool active_;
  const std::span<const TableUse> uses_;
  uint32_t times_ = 1;
  uint64_t next_host_ = 0;
};

}  // namespace

Task<Result<void>> count_active_entries(const ReferenceWalk& walk,
                                        std::span<const uint64_t> tables) {
  EntryCounter counter(walk);
  co_return co_await visit_tables(walk.file, tables, walk.geometry().cluster_bytes(), counter);
}

Task<Result<void>> count_shared_entries(const ReferenceWalk& walk, std::span<const TableUse> uses) {
  std::vector<uint64_t> offsets;
  offsets.reserve(uses.size());
  for (const TableUse& use : uses) offsets.push_back(use.offset);
  EntryCounter counter(walk, uses);
  co_return co_await visit_tables(walk.file, offsets, walk.geometry().cluster_bytes(), counter);
}

}  // namespace hull::blockcore::qcow2
