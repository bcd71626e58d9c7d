#include "blockcore/qcow2/check/check.h"

#include <algorithm>

#include "blockcore/qcow2/check/rebuild.h"
#include "blockcore/qcow2/edit/copied_flags.h"
#include "blockcore/qcow2/format/refcount_block.h"
#include "blockcore/qcow2/format/snapshot_table.h"
#include "blockcore/qcow2/mapping/table_walk.h"

namespace hull::blockcore::qcow2 {
namespace {

// What the refcount table says, checked.
struct RefcountBlocks {
  std::vector<uint64_t> numbers;  // of the blocks that can be read
  std::vector<uint64_t> offsets;  // of those
  bool broken = false;            // the structures must be written anew
};

// Counts the table and its blocks.
Task<Result<RefcountBlocks>> count_refcount_structures(File& file, const Header& header,
                                                       References& references, Findings& findings) {
  const Geometry& geometry = header.geometry;
  const uint64_t table_bytes = geometry.offset_of(header.refcount_table_clusters);
  CO_TRY(const std::vector<uint64_t> table,
         co_await read_table(file, header.refcount_table_offset, table_bytes / 8));
  count_range(header.refcount_table_offset, table_bytes, geometry, references, findings);
  RefcountBlocks blocks;
  const auto complain = [&](std::string message) {
    findings.corrupt(std::move(message));
    blocks.broken = true;
  };
  for (uint64_t i = 0; i < table.size(); ++i) {
    const uint64_t block = table[i] & kRefcountOffsetMask;
    if ((table[i] & ~kRefcountOffsetMask) != 0)
      complain(fmt::format("ERROR refcount table entry {} has reserved bits set", i));
    if (block == 0) continue;
    if (geometry.offset_in_cluster(block) != 0) {
      complain(fmt::format(
          "ERROR refcount block {} is not cluster aligned; refcount table entry corrupted", i));
    } else if (!references.inside(block, geometry.cluster_bytes())) {
      complain(fmt::format("ERROR refcount block {} is outside image", i));
    } else {
      const uint64_t cluster = geometry.cluster_of(block);
      references.add(cluster);
      if (references[cluster] != 1)
        complain(fmt::format("ERROR refcount block {} refcount={}", i, references[cluster]));
      blocks.numbers.push_back(i);
      blocks.offsets.push_back(block);
    }
  }
  co_return blocks;
}

// Compares refcount blocks with the references that were counted, and corrects them.
class Comparer final : public TableVisitor {
 public:
  enum class Mode : uint8_t {
    kLook,      // as a repair begins
    kConclude,  // leaves the refcounts in `references`
    kRepair,    // the same, after having corrected them
  };
  Comparer(const Geometry& geometry, const RefcountBlocks& blocks, References& references,
           CheckResult& result, Mode mode, Repair repair)
      : geometry_(geometry),
        blocks_(blocks),
        references_(references),
        result_(result),
        mode_(mode),
        repair_(repair) {}

  bool visit(size_t index, std::span<std::byte> block) override {
    const uint64_t first = blocks_.numbers[index] * geometry_.refcounts_per_block();
    missing_until(first);
    const uint64_t end = std::min(references_.clusters(), first + geometry_.refcounts_per_block());
    decode(block, first < end ? end - first : 0);
    bool changed = false;
    for (uint64_t cluster = first; cluster < end; ++cluster) {
      const uint64_t stored = stored_[cluster - first];
      if (stored == references_[cluster]) {
        if (stored != 0) end_cluster_ = cluster + 1;
      } else if (differ(cluster, stored)) {
        set_refcount(block.data(), geometry_.refcount_order, cluster - first, references_[cluster]);
        changed = true;
      }
    }
    position_ = std::max(position_, end);
    return changed;
  }

  // After the last block.
  void finish() {
    missing_until(references_.clusters());
    result_.image_end_offset = geometry_.offset_of(end_cluster_);
  }
  // A cluster is used and its count is zero: it may have been given away a second time.
  bool used_and_free() const { return used_and_free_; }

 private:
  void missing_until(uint64_t end) {
    for (end = std::min(end, references_.clusters()); position_ < end; ++position_)
      if (references_[position_] != 0) (void)differ(position_, 0);
  }

  void decode(std::span<const std::byte> block, uint64_t count) {
    stored_.resize(count);
    if (geometry_.refcount_order == 4) {
      for (uint64_t i = 0; i < count; ++i) {
        Be16 raw;
        std::memcpy(&raw, block.data() + i * sizeof raw, sizeof raw);
        stored_[i] = raw;
      }
      return;
    }
    for (uint64_t i = 0; i < count; ++i)
      stored_[i] = get_refcount(block.data(), geometry_.refcount_order, i);
  }

  // True: the refcount is to be corrected.
  bool differ(uint64_t cluster, uint64_t stored) {
    const uint64_t used = references_[cluster];
    end_cluster_ = cluster + 1;
    if (stored == 0) used_and_free_ = true;
    const bool leak = stored > used;
    const bool fix = mode_ == Mode::kRepair && used <= geometry_.max_refcount() &&
                     (leak ? repair_ != Repair::kNone : repair_ == Repair::kAll);
    std::string message = fmt::format("{} cluster {} refcount={} reference={}",
                                      fix    ? "Repairing"
                                      : leak ? "Leaked"
                                             : "ERROR",
                                      cluster, stored, used);
    if (fix) {
      result_.findings.note(std::move(message));
      ++(leak ? result_.leaks_fixed : result_.findings.corruptions_fixed);
      return true;
    }
    if (leak)
      ++result_.leaks, result_.findings.note(std::move(message));
    else
      result_.findings.corrupt(std::move(message));
    if (mode_ != Mode::kLook)
      references_.set(cluster, static_cast<uint32_t>(std::min<uint64_t>(stored, ~uint32_t{0})));
    return false;
  }

  const Geometry geometry_;
  const RefcountBlocks& blocks_;
  References& references_;
  CheckResult& result_;
  const Mode mode_;
  const Repair repair_;
  std::vector<uint64_t> stored_;
  uint64_t position_ = 0;  // clusters before it are done
  uint64_t end_cluster_ = 0;
  bool used_and_free_ = false;
};

struct Check {
  File& file;
  ImageHeader* header;  // nullptr: only look
  const Header& facts;
  Repair repair;
  References references;
  RefcountBlocks blocks;
  CheckResult result;
};

// True: some used cluster counts as free.
Task<Result<bool>> compare(Check& check, Comparer::Mode mode) {
  const Geometry& geometry = check.facts.geometry;
  Comparer comparer(geometry, check.blocks, check.references, check.result, mode, check.repair);
  CO_TRY_VOID(
      co_await visit_tables(check.file, check.blocks.offsets, geometry.cluster_bytes(), comparer));
  comparer.finish();
  co_return comparer.used_and_free();
}

// The structures are not what counts: everything else was wrong with them.
Task<Result<void>> rebuild(Check& check) {
  CheckResult& result = check.result;
  result.findings.note("Rebuilding refcount structure");
  CO_TRY(check.references, References::create(check.file.size_bytes(), check.facts.geometry));
  Findings again;
  CO_TRY_VOID(co_await count_references(check.file, check.facts, check.references, again));
  CO_TRY_VOID(
      co_await write_new_refcounts(check.file, *check.header, check.references, **check.header));
  result.findings.corruptions_fixed += result.findings.corruptions - again.corruptions;
  result.findings.corruptions = again.corruptions;
  result.leaks_fixed += std::exchange(result.leaks, 0);
  co_return {};
}

Task<Result<void>> repair_refcounts(Check& check) {
  CheckResult& result = check.result;
  const uint64_t corruptions = result.findings.corruptions;
  CO_TRY(const bool used_and_free, co_await compare(check, Comparer::Mode::kLook));
  if (check.blocks.broken || used_and_free) {
    if (check.repair == Repair::kAll) co_return co_await rebuild(check);
    result.findings.note("ERROR need to rebuild refcount structures");
    result.needs_rebuild = true;
    co_return {};
  }
  if (result.leaks == 0 && result.findings.corruptions == corruptions) co_return {};
  result.leaks = 0;
  result.findings.corruptions = corruptions;
  CO_TRY_VOID(co_await compare(check, Comparer::Mode::kRepair));
  co_return co_await check.file.flush();
}

Task<Result<void>> clear_marks(File& file, ImageHeader& header) {
  CO_TRY_VOID(co_await file.flush());
  const uint64_t marks = kIncompatibleDirty | kIncompatibleCorrupt;
  if ((header->incompatible & marks) == 0) co_return {};
  co_return co_await header.set_features(file, header->incompatible & ~marks, header->autoclear);
}

// Writes the table anew, behind everything else, with refcounts that count it: one write of the
// header brings both.
Task<Result<void>> complete_snapshots(File& file, ImageHeader& header) {
  const Geometry geometry = header->geometry;
  CO_TRY(const SnapshotTable table, co_await read_snapshot_table(file, *header));
  CO_TRY(std::vector<std::byte> bytes, encode_snapshot_table(table.snapshots));
  bytes.resize(geometry.offset_of(geometry.clusters_for(bytes.size())));
  Header changed = *header;
  changed.snapshots_offset = geometry.offset_of(geometry.clusters_for(file.size_bytes()));
  CO_TRY_VOID(co_await write_exactly(file, changed.snapshots_offset, bytes));
  CO_TRY(References references, References::create(file.size_bytes(), geometry));
  Findings again;
  CO_TRY_VOID(co_await count_references(file, changed, references, again));
  if (again.corruptions != 0)
    co_return fail(ErrorKind::kCorrupt, "cannot rewrite the snapshot table: {}",
                   again.messages.front());
  co_return co_await write_new_refcounts(file, header, references, std::move(changed));
}

// Entries of the snapshot table that say less than version 3 demands.
Task<Result<void>> repair_snapshots(Check& check) {
  Findings& findings = check.result.findings;
  const std::vector<size_t>& incomplete = findings.incomplete_snapshots;
  const bool fix = check.repair == Repair::kAll && findings.corruptions == 0;
  for (const size_t index : incomplete)
    findings.note(fmt::format("{} snapshot table entry {} is incomplete",
                              fix ? "Repairing" : "ERROR", index));
  (fix ? findings.corruptions_fixed : findings.corruptions) += incomplete.size();
  if (fix && !incomplete.empty()) co_return co_await complete_snapshots(check.file, *check.header);
  co_return {};
}

Task<Result<CheckResult>> run(File& file, ImageHeader* header, const Header& facts, Repair repair) {
  const Geometry& geometry = facts.geometry;
  CO_TRY(References references, References::create(file.size_bytes(), geometry));
  Check check{file, header, facts, repair, std::move(references), {}, {}};
  CheckResult& result = check.result;
  Findings& findings = result.findings;
  result.total_clusters = geometry.clusters_for(facts.size_bytes);
  CO_TRY_VOID(
      co_await count_references(file, facts, check.references, findings, repair == Repair::kAll));
  CO_TRY(check.blocks, co_await count_refcount_structures(file, facts, check.references, findings));
  if (repair == Repair::kNone) {
    CO_TRY_VOID(co_await compare(check, Comparer::Mode::kConclude));
  } else {
    CO_TRY_VOID(co_await repair_refcounts(check));
    if (result.needs_rebuild) co_return std::move(result);
  }
  const bool fix_flags = repair == Repair::kAll || (repair == Repair::kLeaks &&
                                                    findings.corruptions == 0 && result.leaks == 0);
  CO_TRY_VOID(co_await check_copied_flags(file, facts, check.references, findings, fix_flags));
  CO_TRY_VOID(co_await repair_snapshots(check));
  if (repair != Repair::kNone && findings.corruptions == 0)
    CO_TRY_VOID(co_await clear_marks(file, *header));
  co_return std::move(result);
}

}  // namespace

Task<Result<CheckResult>> check_image(File& file, const Header& header) {
  co_return co_await run(file, nullptr, header, Repair::kNone);
}

Task<Result<CheckResult>> repair_image(File& file, ImageHeader& header, Repair repair) {
  co_return co_await run(file, &header, *header, repair);
}

}  // namespace hull::blockcore::qcow2
