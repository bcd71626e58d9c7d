#include "blockcore/qcow2/edit/copied_flags.h"

#include <algorithm>
#include <optional>

#include "blockcore/qcow2/mapping/table_walk.h"

namespace hull::blockcore::qcow2 {
namespace {

class FlagChecker final : public TableVisitor {
 public:
  // `tables`: what will be visited.
  FlagChecker(const Header& header, const References& counts, Findings& findings,
              const SoleTables* fix, const std::vector<StructureUse>& tables)
      : geometry_(header.geometry),
        counts_(counts),
        findings_(findings),
        fix_(fix),
        tables_(tables),
        external_(header.has_data_file()) {}

  // True: `entry` was changed.
  bool check(uint64_t& entry, std::string_view what, uint32_t count, bool fix, uint32_t times = 1) {
    if (((entry & kCopiedFlag) != 0) == (count == 1)) return false;
    std::string message = fmt::format("{} OFLAG_COPIED {}={:x} refcount={}",
                                      fix ? "Repairing" : "ERROR", what, entry, count);
    if (!fix) {
      findings_.corrupt(std::move(message), times);
      return false;
    }
    findings_.note(std::move(message));
    ++findings_.corruptions_fixed;
    entry ^= kCopiedFlag;
    return true;
  }
  // nullopt: the place is outside the file, which is an error of its own.
  std::optional<uint32_t> count_at(uint64_t offset) const {
    const uint64_t cluster = geometry_.cluster_of(offset);
    if (cluster >= counts_.clusters()) return std::nullopt;
    return counts_[cluster];
  }

  bool visit(size_t index, std::span<std::byte> table) override {
    const auto& [first, clusters, times, kind] = tables_[index];
    const bool fix =
        fix_ != nullptr && std::ranges::binary_search(fix_->l2, geometry_.offset_of(first));
    bool changed = false;
    for (size_t at = 0; at < table.size(); at += geometry_.l2_entry_bytes()) {
      L2Entry entry{load_be64(table.data() + at)};
      if (entry.compressed() || entry.host_offset() == 0) continue;
      // What is in a data file has no refcount, and nobody to share it with.
      const auto count = external_ ? 1 : count_at(entry.host_offset());
      if (!count || !check(entry.value, "data cluster: l2_entry", *count, fix, times)) continue;
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
  const SoleTables* const fix_;
  const std::vector<StructureUse>& tables_;
  const bool external_;
};

Task<Result<void>> write_entry(File& file, uint64_t offset, uint64_t entry) {
  const Be64 raw = entry;
  co_return co_await write_exactly(file, offset, std::as_bytes(std::span(&raw, 1)));
}

}  // namespace

Task<Result<void>> check_copied_flags(File& file, const Header& header, const References& counts,
                                      Findings& findings, const SoleTables* fix) {
  const Geometry& geometry = header.geometry;
  CO_TRY(std::vector<uint64_t> l1, co_await read_table(file, header.l1_offset, header.l1_entries));
  std::vector<StructureUse> tables;
  FlagChecker checker(header, counts, findings, fix, tables);
  for (uint64_t i = 0; i < l1.size(); ++i) {
    const uint64_t table = l1[i] & kOffsetMask;
    const auto count = checker.count_at(table);
    if (table == 0 || !count) continue;
    if (checker.check(l1[i], fmt::format("L2 cluster: l1_index={} l1_entry", i), *count,
                      fix != nullptr && fix->l1))
      CO_TRY_VOID(co_await write_entry(file, header.l1_offset + i * 8, l1[i]));
    if (geometry.offset_in_cluster(table) == 0 && counts.inside(table, geometry.cluster_bytes()))
      tables.push_back({geometry.cluster_of(table), 1, 1, StructureKind::kL2});
  }
  join_repeated(tables);
  std::vector<uint64_t> offsets;
  offsets.reserve(tables.size());
  for (const StructureUse& table : tables) offsets.push_back(geometry.offset_of(table.first));
  co_return co_await visit_tables(file, offsets, geometry.cluster_bytes(), checker);
}

}  // namespace hull::blockcore::qcow2
