#include "blockcore/qcow2/check/l2_references.h"

#include <cstring>

#include "base/endian.h"
#include "blockcore/qcow2/format/l2_entry.h"
#include "blockcore/qcow2/mapping/table_walk.h"

namespace hull::blockcore::qcow2 {
namespace {

L2Entry load_entry(std::span<const std::byte> bytes, const Header& header) {
  L2Entry entry{load_be64(bytes.data())};
  if (bytes.size() == 16) entry.bitmap = load_be64(bytes.data() + 8);
  entry.external = header.has_data_file();
  return entry;
}

// Follows the entries of L2 tables.
class EntryCounter final : public TableVisitor {
 public:
  EntryCounter(const ReferenceWalk& walk, TablesOf whose, std::span<const StructureUse> uses)
      : walk_(walk), active_(whose == TablesOf::kActive), uses_(uses) {}

  bool visit(size_t index, std::span<std::byte> table) override {
    times_ = uses_[index].times;
    next_host_ = 0;
    const size_t step = walk_.geometry().l2_entry_bytes();
    for (size_t at = 0; at < table.size(); at += step) {
      const L2Entry entry = load_entry(table.subspan(at, step), walk_.header);
      if (entry.value != 0 || entry.bitmap != 0) count(entry);
    }
    return false;
  }

 private:
  void count(L2Entry entry) {
    if (walk_.geometry().extended_l2 && !entry.bitmap_is_valid()) report_bitmap(entry);
    if (entry.compressed()) return count_compressed(entry);
    if ((entry.value & kL2Reserved) != 0)
      complain("ERROR found l2 entry with reserved bits set: {:x}", entry.value);
    if ((entry.value & kZeroFlag) != 0 && !walk_.header.has_zero_flag())
      complain("ERROR: L2 entry {:#x} has the zero flag, which such an image does not know",
               entry.value);
    const uint64_t offset = entry.host_offset();
    if (!entry.has_host()) return;
    if (walk_.geometry().offset_in_cluster(offset) != 0) report_misaligned(entry);
    if (!entry.external) count_cluster(offset);
    if (active_) count_layout(offset);
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
    walk_.findings.allocated_clusters += times_;
    walk_.findings.compressed_clusters += times_;
    walk_.findings.fragmented_clusters += times_;  // as qemu-img counts
  }

  void count_cluster(uint64_t offset) {
    const uint64_t bytes = walk_.geometry().cluster_bytes();
    if (walk_.geometry().offset_in_cluster(offset) == 0 && walk_.references.inside(offset, bytes))
      walk_.references.add(walk_.geometry().cluster_of(offset), times_);
    else
      count_range(offset, bytes, walk_.geometry(), walk_.references, walk_.findings, times_);
  }

  void count_layout(uint64_t offset) {
    walk_.findings.allocated_clusters += times_;
    if (next_host_ != 0 && offset != next_host_) walk_.findings.fragmented_clusters += times_;
    next_host_ = offset + walk_.geometry().cluster_bytes();
  }

  void report_misaligned(L2Entry entry) {
    const bool replaceable = without_place(entry, walk_.header).has_value();
    if (replaceable) walk_.findings.replaceable += times_;
    walk_.findings.corrupt(
        fmt::format("ERROR offset={:x}: {} cluster is not properly aligned; L2 entry corrupted.",
                    entry.host_offset(), replaceable ? "Preallocated" : "Data"),
        times_);
  }

  // What the cluster holds can only be guessed.
  void report_bitmap(L2Entry entry) {
    if (entry.compressed())
      complain("ERROR compressed cluster with non-zero subcluster allocation bitmap, offset={:x}",
               entry.value);
    else if (!entry.has_host())
      complain("ERROR Unallocated cluster has non-zero subcluster allocation map, offset={:x}",
               entry.bitmap);
    else
      complain("ERROR offset={:x}: Allocated cluster has corrupted subcluster allocation bitmap",
               entry.host_offset());
  }

  void complain(fmt::format_string<const uint64_t&> format, const uint64_t& value) {
    walk_.findings.corrupt(fmt::format(format, value), times_);
  }

  const ReferenceWalk& walk_;
  const bool active_;
  const std::span<const StructureUse> uses_;
  uint32_t times_ = 1;
  uint64_t next_host_ = 0;
};

class EntryReplacer final : public TableVisitor {
 public:
  EntryReplacer(const Header& header, Findings& findings) : header_(header), findings_(findings) {}

  bool visit(size_t, std::span<std::byte> table) override {
    const uint64_t before = replaced_;
    const size_t step = header_.geometry.l2_entry_bytes();
    for (size_t at = 0; at < table.size(); at += step) replace(table.subspan(at, step));
    return replaced_ != before;
  }
  uint64_t replaced() const { return replaced_; }

 private:
  void replace(std::span<std::byte> bytes) {
    const L2Entry entry = load_entry(bytes, header_);
    const auto instead = without_place(entry, header_);
    if (!instead) return;
    const Be64 words[2] = {instead->value, instead->bitmap};
    std::memcpy(bytes.data(), words, bytes.size());
    ++replaced_;
    findings_.note(fmt::format(
        "Repairing offset={:x}: Preallocated cluster is not properly aligned; L2 entry corrupted.",
        entry.host_offset()));
  }

  const Header& header_;
  Findings& findings_;
  uint64_t replaced_ = 0;
};

}  // namespace

std::optional<L2Entry> without_place(L2Entry entry, const Header& header) {
  if (entry.compressed() || (entry.value & kL2Reserved) != 0 ||
      header.geometry.offset_in_cluster(entry.host_offset()) == 0)
    return std::nullopt;
  if (header.geometry.extended_l2) {
    if (entry.allocated() != 0 || (entry.value & kZeroFlag) != 0) return std::nullopt;
    return L2Entry{0, entry.bitmap, entry.external};
  }
  if ((entry.value & kZeroFlag) == 0 || !header.has_zero_flag()) return std::nullopt;
  return L2Entry{kZeroFlag, 0, entry.external};
}

Task<Result<uint64_t>> replace_entries(File& file, const Header& header,
                                       std::span<const uint64_t> tables, Findings& findings) {
  EntryReplacer replacer(header, findings);
  CO_TRY_VOID(co_await visit_tables(file, tables, header.geometry.cluster_bytes(), replacer));
  CO_TRY_VOID(co_await file.flush());
  co_return replacer.replaced();
}

Task<Result<void>> count_entries(const ReferenceWalk& walk, TablesOf whose,
                                 std::span<const StructureUse> uses) {
  std::vector<uint64_t> offsets;
  offsets.reserve(uses.size());
  for (const StructureUse& use : uses) offsets.push_back(walk.geometry().offset_of(use.first));
  EntryCounter counter(walk, whose, uses);
  co_return co_await visit_tables(walk.file, offsets, walk.geometry().cluster_bytes(), counter);
}

}  // namespace hull::blockcore::qcow2
