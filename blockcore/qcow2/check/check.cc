#include "blockcore/qcow2/check/check.h"

#include <algorithm>
#include <optional>

#include "blockcore/qcow2/check/compare.h"
#include "blockcore/qcow2/check/l2_references.h"
#include "blockcore/qcow2/check/rebuild.h"
#include "blockcore/qcow2/edit/copied_flags.h"
#include "blockcore/qcow2/format/snapshot_table.h"

namespace hull::blockcore::qcow2 {
namespace {

struct Check {
  File& file;
  ImageHeader* header;  // nullptr: only look
  const Header& facts;
  Repair repair;
  References references;
  std::optional<SoleTables> sole;
  RefcountBlocks blocks;
  CheckResult result;
};

// True: some used cluster counts as free.
Task<Result<bool>> compare(Check& check, CompareMode mode) {
  return compare_refcounts(check.file, check.facts.geometry, check.blocks, check.references,
                           check.result, mode, check.repair);
}

// What the refcounts of the file say is kept where not all references are known, and a cluster
// without any is in use by what could not be read.
Task<Result<void>> keep_unknown(Check& check) {
  CO_TRY_VOID(co_await compare(check, CompareMode::kKeep));
  check.references.counts().count_unknown(
      check.facts.geometry.clusters_for(check.file.size_bytes()));
  co_return check.references.check_counted();
}

// The structures are not what counts: everything else was wrong with them.
Task<Result<void>> rebuild(Check& check) {
  CheckResult& result = check.result;
  result.findings.note("Rebuilding refcount structure");
  CO_TRY(check.references, References::create(check.file.size_bytes(), check.facts.geometry));
  Findings again;
  CO_TRY_VOID(co_await count_references(check.file, check.facts, check.references, again));
  check.sole.emplace(check.facts, check.references);
  if (again.unfollowed) CO_TRY_VOID(co_await keep_unknown(check));
  auto written =
      co_await write_new_refcounts(check.file, *check.header, check.references, **check.header);
  if (!written) {
    const ErrorKind kind = written.error().kind();
    if (kind != ErrorKind::kCorrupt && kind != ErrorKind::kOutOfRange) co_return written;
    result.findings.note("ERROR cannot rebuild the refcounts: " + written.error().message());
    result.findings.corruptions = std::max<uint64_t>(result.findings.corruptions, 1);
    check.sole.reset();
    co_return {};
  }
  result.findings.corruptions_fixed += result.findings.corruptions - again.corruptions;
  result.findings.corruptions = again.corruptions;
  result.leaks_fixed += std::exchange(result.leaks, 0);
  co_return {};
}

Task<Result<void>> repair_refcounts(Check& check) {
  CheckResult& result = check.result;
  const uint64_t corruptions = result.findings.corruptions;
  CO_TRY(const bool used_and_free, co_await compare(check, CompareMode::kLook));
  if (check.blocks.broken || used_and_free) {
    if (check.repair == Repair::kAll) co_return co_await rebuild(check);
    result.findings.note("ERROR need to rebuild refcount structures");
    result.needs_rebuild = true;
    co_return {};
  }
  if (result.leaks == 0 && result.findings.corruptions == corruptions) co_return {};
  result.leaks = 0;
  result.findings.corruptions = corruptions;
  CO_TRY_VOID(co_await compare(check, CompareMode::kRepair));
  co_return co_await check.file.flush();
}

Task<Result<void>> clear_marks(File& file, ImageHeader& header) {
  CO_TRY_VOID(co_await file.flush());
  const uint64_t marks = kIncompatibleDirty | kIncompatibleCorrupt;
  if ((header->incompatible & marks) == 0 && (header->autoclear & ~kKnownAutoclear) == 0)
    co_return {};
  co_return co_await header.set_features(file, header->incompatible & ~marks, header->autoclear);
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

// Looks at everything, and writes nothing.
Task<Result<void>> look(Check& check) {
  Findings& findings = check.result.findings;
  findings = {};
  CO_TRY(check.references, References::create(check.file.size_bytes(), check.facts.geometry));
  CO_TRY_VOID(co_await count_references(check.file, check.facts, check.references, findings));
  CO_TRY(check.blocks,
         co_await count_refcount_structures(check.file, check.facts, check.references, findings));
  check.sole.emplace(check.facts, check.references);
  co_return {};
}

// Entries that are wrong and hold no data; then looks again.
Task<Result<void>> repair_entries(Check& check) {
  if (check.result.findings.replaceable == 0 || check.result.findings.unfollowed) co_return {};
  Findings notes;
  CO_TRY(const uint64_t replaced,
         co_await replace_entries(check.file, check.facts, check.sole->l2, notes));
  if (replaced == 0) co_return {};
  CO_TRY_VOID(co_await look(check));
  for (std::string& message : check.result.findings.messages) notes.note(std::move(message));
  check.result.findings.messages = std::move(notes.messages);
  check.result.findings.corruptions_fixed += replaced;
  co_return {};
}

Task<Result<CheckResult>> run(File& file, ImageHeader* header, const Header& facts, Repair repair) {
  const Geometry& geometry = facts.geometry;
  CO_TRY(References references, References::create(file.size_bytes(), geometry));
  Check check{file, header, facts, repair, std::move(references), {}, {}, {}};
  CheckResult& result = check.result;
  Findings& findings = result.findings;
  result.total_clusters = geometry.clusters_for(facts.size_bytes);
  CO_TRY_VOID(co_await look(check));
  if (repair == Repair::kAll) CO_TRY_VOID(co_await repair_entries(check));
  if (repair == Repair::kNone) {
    CO_TRY_VOID(co_await compare(check, CompareMode::kConclude));
  } else {
    CO_TRY_VOID(co_await repair_refcounts(check));
    if (result.needs_rebuild) co_return std::move(result);
  }
  const bool fix_flags =
      !findings.unfollowed &&
      (repair == Repair::kAll ||
       (repair == Repair::kLeaks && findings.corruptions == 0 && result.leaks == 0));
  CO_TRY_VOID(co_await check_copied_flags(file, facts, check.references, findings,
                                          fix_flags ? &*check.sole : nullptr));
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
