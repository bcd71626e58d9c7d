"""Planted faults: what would undo a rule of the block core, and the test that must see it.

A rule replaces one piece of text, which stands in its file exactly once. `tests/mutations/run` applies each to a tree of
its own and demands that the named test fails; the test runs of every day only look whether each still applies.
"""

import dataclasses


@dataclasses.dataclass
class Rule:
    name: str
    file: str
    old: str
    new: str
    program: str
    tests: str  # a filter of googletest's


Q = "blockcore/qcow2/"
CRASH = "*Qcow2Crash.*:*Qcow2Change.Crash*"
PAIRS = "*Pairs*"

RULES = [
    # The order of a commit.
    Rule("commit-without-first-flush", Q + "alloc/committer.cc", "    CO_TRY_VOID(co_await image_.flush_all());\n  }\n", "  }\n", "unit_qcow2", CRASH),
    Rule("commit-never-ordered", Q + "alloc/committer.cc", "changes.ordered || image_.refcounts.dirty()", "image_.refcounts.dirty()", "unit_qcow2", CRASH),
    Rule("flush-before-the-counts", Q + "alloc/committer.cc", "    CO_TRY_VOID(co_await write_refcounts(changes));\n    CO_TRY_VOID(co_await image_.flush_all());\n  }", "    CO_TRY_VOID(co_await image_.flush_all());\n    CO_TRY_VOID(co_await write_refcounts(changes));\n  }", "unit_qcow2", CRASH),
    Rule("commit-ignores-growth", Q + "alloc/committer.cc", "  if (image_.refcounts.take_growth()) changes.ordered = true;\n", "", "unit_pairs", "PairsThatFailed.*"),
    Rule("refcount-table-before-its-block", Q + "alloc/committer.cc", "  CO_TRY_VOID(co_await image_.file->flush());\n  co_return co_await write_sectors(*image_.file, changes.refcount_table);", "  co_return co_await write_sectors(*image_.file, changes.refcount_table);", "unit_qcow2", CRASH),
    Rule("commit-without-last-flush", Q + "alloc/committer.cc", "  if (first_flush) co_return co_await file.flush();\n", "  if (first_flush) co_return {};\n", "unit_qcow2", CRASH),
    Rule("freed-before-readers-end", Q + "alloc/committer.cc", "  while (!image_.in_use.drained()) co_await image_.in_use.wait();\n", "", "unit_qcow2", "*Qcow2Model.*:*Qcow2Disk*"),
    Rule("failed-commit-forgets-l1", Q + "alloc/committer.cc", "  image_.map.l1().mark_dirty(changes.l1);\n", "", "unit_qcow2", "*Qcow2Crash.AnyFailing*:*FullDisk*"),
    Rule("failed-commit-forgets-slices", Q + "alloc/committer.cc", "finish_writing(changes.l2, !written)", "finish_writing(changes.l2, false)", "unit_qcow2", "*Qcow2Crash.AnyFailing*:*FullDisk*"),
    Rule("zeros-of-encrypted-images", Q + "mapping/cluster_map.cc", "  if (!unordered) needs_data_ = true;", "  (void)unordered;", "unit_qcow2", "Qcow2EncryptedCrash.*:" + CRASH),
    # The allocator.
    Rule("held-clusters-are-free", Q + "alloc/refcounts.cc", " || held_.contains(first)))", "))", "unit_qcow2", "*Qcow2Model.*:*Snapshots*"),
    Rule("always-fresh", Q + "alloc/refcounts.cc", "  const bool fresh = run.first >= fresh_from_;\n  fresh_from_ = std::max(fresh_from_, run.first + run.count);\n  return {run, fresh};", "  return {run, true};", "unit_qcow2", "*Qcow2Model.*:*Qcow2Crash.*"),
    Rule("device-reads-as-zeros", Q + "alloc/refcounts.cc", "fresh_from_(file.unwritten_reads_as_zeros() ?", "fresh_from_(true ?", "unit_pairs", "*device*"),
    Rule("new-block-not-zeroed", Q + "alloc/refcounts.cc", "  if (cluster < fresh_from_)\n", "  if (false)\n", "unit_pairs", PAIRS),
    Rule("new-block-not-counted", Q + "alloc/refcounts.cc", "  set_refcount(slice.bytes(), geometry().refcount_order, 0, 1);", "  set_refcount(slice.bytes(), geometry().refcount_order, 0, 0);", "unit_qcow2", "*Qcow2Model.*"),
    Rule("shared-stream-not-counted", Q + "alloc/refcounts.cc", "index, references + 1);", "index, references);", "unit_qcow2", "*Qcow2Model.*:*ompress*"),
    Rule("count-overflows", Q + "alloc/refcounts.cc", "      references >= geometry().max_refcount())", "      references > geometry().max_refcount())", "unit_qcow2", "*Qcow2Model.*:*Packer*:*ompress*"),
    Rule("release-counts-nothing", Q + "alloc/refcount_release.cc", "cluster & mask, references - 1);", "cluster & mask, references);", "unit_qcow2", "*Qcow2Model.*"),
    Rule("release-of-shared-clusters", Q + "alloc/refcount_release.cc", "    if (references == 1) {", "    if (references <= 2) {", "unit_qcow2", "*Qcow2Model.*:*Snapshots*"),
    Rule("packed-end-survives-its-cluster", Q + "alloc/refcount_release.cc", "      if (cluster == geometry().cluster_of(packed_end_)) packed_end_ = 0;\n", "", "unit_qcow2", "*Qcow2Model.*:*ompress*:*Packer*"),
    Rule("reserve-cuts-others-off", Q + "alloc/refcount_release.cc", "  if (unused.first >= fresh_from_ && file_.size_bytes() == end)", "  if (true)", "unit_qcow2", "*Qcow2Model.*:*Alloc*"),
    Rule("allocator-keeps-old-counts", Q + "alloc/refcount_release.cc", "  hint_ = std::max<uint64_t>(std::min(hint_, first_freed), 1);\n", "", "unit_qcow2", "*Qcow2*"),
    # L2 tables.
    Rule("new-table-with-old-contents", Q + "mapping/l2_tables.cc", "  if (!allocation.fresh) {", "  if (false) {", "unit_qcow2", "*Qcow2Model.*:*FullDisk*"),
    Rule("new-table-never-written", Q + "mapping/l2_tables.cc", "  cache_.mark_dirty(cache_.insert_zeros(slice_key(cluster)));", "  cache_.insert_zeros(slice_key(cluster));", "unit_qcow2", "*FullDisk*:*Qcow2Crash.*"),
    Rule("shared-table-in-place", Q + "mapping/l2_tables.cc", "    } else if ((l1_[l1_index] & kCopiedFlag) == 0) {", "    } else if (false) {", "unit_qcow2", "*Qcow2Model.*:*Snapshots*"),
    Rule("old-table-leaks", Q + "mapping/l2_tables.cc", "  add_run(unlinked_, {geometry_.cluster_of(*old_offset), 1});\n", "", "unit_qcow2", "*Qcow2Model.*"),
    Rule("copy-of-table-is-empty", Q + "mapping/l2_tables.cc", "  CO_TRY_VOID(co_await file_.read_or_zero(old_offset, {&buffer, 1}));\n", "  (void)old_offset;\n", "unit_qcow2", "*Qcow2Model.*"),
    # Locks and gates.
    Rule("gate-lets-everybody-stay", "blockcore/async/gate.h", "    while (inside_ != 0) co_await left_.wait();\n", "", "unit_qcow2", "*Qcow2Model.*:*Snapshots*"),
    Rule("frozen-tables-are-written", "blockcore/qcow2/frozen_tables.h", "    return next != frozen_.end() && *next <= last;", "    return next == frozen_.end() && first > last;", "unit_qcow2", "*Qcow2Model.Snapshots*"),
    Rule("range-lock-misses-the-last-byte", "blockcore/async/range_lock.h", "return first <= other.last && other.first <= last;", "return first < other.last && other.first < last;", "unit_pairs", "*neighbour*"),
    Rule("range-lock-of-nobody", "blockcore/async/range_lock.h", "        if (one->range_.overlaps(range_)) return &one->waiting_;\n      }", "      }", "unit_blockcore", "*ocalFile*"),
    Rule("zeroing-takes-no-lock", "blockcore/file/local_file_zero.cc", "  while (WaitList* before = hold.before()) co_await before->wait();\n", "", "unit_blockcore", "*ocalFile*"),
    Rule("writes-take-no-lock", "blockcore/file/local_file.cc", "    while (WaitList* before = hold->before()) co_await before->wait();\n", "", "unit_blockcore", "*ocalFile*"),
    Rule("facts-before-the-lock", "blockcore/file/local_file.cc", "  if (options.lock) TRY(file->take_lock(*options.lock));\n  TRY(file->learn_facts());", "  TRY(file->learn_facts());\n  if (options.lock) TRY(file->take_lock(*options.lock));", "unit_pairs", "*lock_wait*"),
    Rule("growing-can-cut", "blockcore/file/local_file.cc", "  grow_to(TRY(length_now()));\n", "", "unit_blockcore", "*ocalFile*"),
    Rule("failed-flush-is-forgotten", "blockcore/file/local_file.cc", "    if (result < 0 && flush_error_ == 0) flush_error_", "    if (result == -EINTR) flush_error_", "unit_blockcore", "*ocalFile*"),
    Rule("writers-do-not-look-at-others", "blockcore/file/image_lock.cc", "    if (taken != 0) return busy(path, \"has\", p);\n", "", "unit_blockcore", "*Lock*"),
    Rule("writers-share-writing", "blockcore/file/image_lock.cc", "  unsigned shared = 1U << kRead | 1U << kWriteUnchanged;", "  unsigned shared = 1U << kRead | 1U << kWrite | 1U << kWriteUnchanged;", "unit_blockcore", "*Lock*"),
    Rule("bounced-write-without-its-tail", "blockcore/file/local_file_direct.cc", "  if (tail_is_partial && !(head_is_partial && last == start)) {", "  if (false) {", "unit_blockcore", "*ocalFile*"),
    Rule("padding-stays-in-the-file", "blockcore/file/local_file_direct.cc", "  if (wanted_size < padded_end && size_bytes_ == padded_end && writes_beyond_ == 0)", "  if (false)", "unit_blockcore", "*ocalFile*"),
    # Changes of the image as a whole.
    Rule("bitmaps-given-up-in-silence", Q + "edit/bitmap_tracker.cc", "      bitmap.in_use = true;\n", "", "unit_qcow2", "*itmap*"),
    Rule("bitmaps-stay-in-use", Q + "edit/bitmap_tracker.cc", "      one.bitmap.in_use = false;\n", "", "unit_qcow2", "*itmap*"),
    Rule("snapshot-without-dirty-bit", Q + "edit/metadata_edit.cc", "  if (header->version < 3 || header->dirty()) co_return {};", "  if (header->version != 0) co_return {};", "unit_qcow2", "*Qcow2Change.Crash*"),
    Rule("deleted-before-it-is-said", Q + "edit/snapshots.cc", "    CO_TRY_VOID(co_await begin(index));\n    CO_TRY_VOID(co_await steps_.drop(l1_));", "    CO_TRY_VOID(co_await begin(index));\n    l1_.clear();", "unit_qcow2", "*Qcow2Model.*"),
    Rule("flags-not-restored", Q + "edit/snapshots.cc", "    CO_TRY_VOID(co_await steps_.drop(l1_));\n    CO_TRY_VOID(co_await steps_.restore_flags());", "    CO_TRY_VOID(co_await steps_.drop(l1_));", "unit_qcow2", "*Qcow2Model.*:*Snapshots*"),
    Rule("data-file-cut-by-growth", Q + "edit/resize.cc", "  CO_TRY_VOID(image.data_file->extend_to(image.size_bytes()));", "  CO_TRY_VOID(image.data_file->cut_to(image.size_bytes()));", "unit_qcow2", "*ataFile*:*Resize*"),
    Rule("device-keeps-old-mapping", Q + "edit/create.cc", "  CO_TRY_VOID(co_await device.write_zeroes(0, first_data, /*may_unmap=*/true));\n", "", "unit_qcow2", "*OnDevice*"),
    Rule("device-too-small-for-metadata", Q + "edit/create.cc", "    CO_TRY_VOID(check_room(file, end));\n", "", "unit_qcow2", "*OnDevice*"),
    Rule("create-over-its-base", "blockcore/image/create.cc", "  co_return check_apart(options.path, options.keep_off);", "  co_return Result<void>();", "unit_cli", "*Target*"),
    Rule("rebase-changes-snapshots", "blockcore/image/rebase.cc", "  CO_TRY_VOID(check_snapshots(options, overlay->header()));\n", "", "unit_cli", "*ebase*:*napshot*"),
    Rule("commit-changes-snapshots", "blockcore/image/commit.cc", "  CO_TRY_VOID(check_snapshots(*overlay, options));\n", "", "unit_cli", "*ommit*:*napshot*:*Img*"),
    # Check and repair.
    Rule("leak-behind-the-file", Q + "check/compare.cc", "    const uint64_t end = std::min(references_.clusters(), first + geometry_.refcounts_per_block());", "    const uint64_t end = std::min(references_.clusters() + 1, first + geometry_.refcounts_per_block());", "unit_qcow2", "*Repair*"),
    Rule("leaks-repaired-without-knowing", Q + "check/compare.cc", "(leak ? !result_.findings.unfollowed : repair_ == Repair::kAll)", "(leak || repair_ == Repair::kAll)", "unit_qcow2", "*Repair*"),
    Rule("repair-writes-into-data", Q + "check/check.cc", "replace_entries(check.file, check.facts, check.sole->l2, notes)", "replace_entries(check.file, check.facts, check.references.sole_l2_tables(check.facts.geometry), notes)", "unit_qcow2", "*Repair*"),
    Rule("rebuild-forgets-the-unknown", Q + "check/check.cc", "  if (again.unfollowed) CO_TRY_VOID(co_await keep_unknown(check));\n", "", "unit_qcow2", "*Repair*"),
    Rule("repair-clears-marks-in-spite-of-errors", Q + "check/check.cc", "  if (repair != Repair::kNone && findings.corruptions == 0)\n", "  if (repair != Repair::kNone)\n", "unit_qcow2", "*Repair*"),
    Rule("repair-replaces-data", Q + "check/l2_references.cc", "    if (entry.allocated() != 0 || (entry.value & kZeroFlag) != 0) return std::nullopt;\n", "", "unit_qcow2", "*Repair*"),
    Rule("repair-hides-the-base", Q + "check/l2_references.cc", "    return L2Entry{0, entry.bitmap, entry.external};", "    return L2Entry{0, L2Entry::make_bitmap(0, kAllSubclusters), entry.external};", "unit_qcow2", "*Repair*"),
    Rule("rebuild-behind-the-device", Q + "check/rebuild.cc", "  if (!file.is_block_device()) co_return with_limit", "  if (file.size_bytes() != 0) co_return with_limit", "unit_qcow2", "Qcow2OnDeviceAfterCrash.*"),
    Rule("rebuild-over-old-counts", Q + "check/rebuild.cc", "  CO_TRY_VOID(co_await write_exactly(file, geometry.offset_of(plan.first_cluster), table));\n  co_return co_await file.flush();", "  co_return co_await write_exactly(file, geometry.offset_of(plan.first_cluster), table);", "unit_qcow2", "*Qcow2Change.Crash*:*Repair*"),
]
