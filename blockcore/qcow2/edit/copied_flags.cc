#include "blockcore/qcow2/edit/copied_flags.h"

#include "blockcore/qcow2/mapping/table_walk.h"

namespace hull::blockcore::qcow2 {
namespace {

class FlagChecker final : public TableVisitor {
 public:
  FlagChecker(const Header& header, const References& counts, Findings& findings, bool fix)
      : geometry_(header.geometry),
        counts_(counts),
        findings_(findings),
        fix_(fix),
        has_data_file_((header.incompatible & kIncompatibleDataFile) != 0) {}

  // True: `entry` was changed.
  bool check(uint64_t& entry, std::string_view what) {
    const uint64_t cluster = geometry_.cluster_of(entry & kOffsetMask);
    const uint32_t count = cluster < counts_.clusters() ? counts_[cluster] : 0;
    if (((entry & kCopiedFlag) != 0) == (count == 1)) return false;
    std::string message = fmt::format("{} OFLAG_COPIED {}={:x} refcount={}",
                                      fix_ ? "Repairing" : "ERROR", what, entry, count);
    if (!fix_) {
      findings_.corrupt(std::move(message));
      return false;
    }
    findings_.note(std::move(message));
    ++findings_.corruptions_fixed;
    entry ^= kCopiedFlag;
    return true;
  }

  bool visit(size_t, std::span<std::byte> table) override {
    if (has_data_file_) return false;  // what is there has no refcounts
    bool changed = false;
    for (size_t at = 0; at < table.size(); at += geometry_.l2_entry_bytes()) {
      L2Entry entry{load_be64(table.data() + at)};
      if (entry.compressed() || entry.host_offset() == 0) continue;
      if (!check(entry.value, "data cluster: l2_entry")) continue;
      const Be64 raw = entry.value;
      std::memcpy(table.data() + at, &raw, sizeof raw);
      changed = true;
    }
    return changed;
  }

 private:
  const Geometry geometry_;
  const References& counts_;
  Findings& findings_;
  const bool fix_;
  const bool has_data_file_;
};

Task<Result<void>> write_entry(File& file, uint64_t offset, uint64_t entry) {
  const Be64 raw = entry;
  co_return co_await write_exactly(file, offset, std::as_bytes(std::span(&raw, 1)));
}

}  // namespace

Task<Result<void>> check_copied_flags(File& file, const Header& header, const References& counts,
                                      Findings& findings, bool fix) {
  const Geometry& geometry = header.geometry;
  CO_TRY(std::vector<uint64_t> l1, co_await read_table(file, header.l1_offset, header.l1_entries));
  FlagChecker checker(header, counts, findings, fix);
  std::vector<uint64_t> tables;
  for (uint64_t i = 0; i < l1.size(); ++i) {
    const uint64_t table = l1[i] & kOffsetMask;
    if (table == 0) continue;
    if (checker.check(l1[i], fmt::format("L2 cluster: l1_index={} l1_entry", i)))
      CO_TRY_VOID(co_await write_entry(file, header.l1_offset + i * 8, l1[i]));
    if (geometry.offset_in_cluster(table) == 0 && counts.inside(table, geometry.cluster_bytes()))
      tables.push_back(table);
  }
  co_return co_await visit_tables(file, tables, geometry.cluster_bytes(), checker);
}

}  // namespace hull::blockcore::qcow2
