#include "blockcore/qcow2/edit/snapshots.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "base/log.h"
#include "blockcore/qcow2/check/references.h"
#include "blockcore/qcow2/edit/mapping_steps.h"
#include "blockcore/qcow2/edit/metadata_edit.h"

namespace hull::blockcore::qcow2 {
namespace {

std::string next_id(const std::vector<Snapshot>& snapshots) {
  uint64_t largest = 0;
  for (const Snapshot& snapshot : snapshots)
    largest = std::max<uint64_t>(largest, std::strtoul(snapshot.id.c_str(), nullptr, 10));
  return fmt::format("{}", largest + 1);
}

// An L1 table in its encoded form: at least `wanted_entries`, none marked as unshared.
std::vector<std::byte> encode_shared(std::vector<uint64_t> l1, uint64_t wanted_entries) {
  for (uint64_t& entry : l1) entry &= ~kCopiedFlag;
  l1.resize(std::max<uint64_t>(l1.size(), wanted_entries));
  return encode_table(l1);
}

Task<Result<void>> begin(MetadataEdit& edit, const Header& header) {
  // The clusters of an external data file are not counted.
  if ((header.incompatible & kIncompatibleDataFile) != 0)
    co_return std::unexpected(Error(ErrorKind::kUnsupported,
                                    "an image with an external data file has no snapshots",
                                    EOPNOTSUPP));
  co_return co_await edit.begin();
}

Header with_snapshots(const Header& header, uint64_t offset, size_t count) {
  Header changed = header;
  changed.snapshots_offset = offset;
  changed.snapshot_count = static_cast<uint32_t>(count);
  return changed;
}

// There is one with that index, and its mapping can be found.
Result<void> check_usable(const SnapshotTable& table, size_t index) {
  if (index >= table.snapshots.size())
    return std::unexpected(Error(ErrorKind::kInvalidConfig, "there is no such snapshot", ENOENT));
  const std::string& damage = table.snapshots[index].damage;
  if (!damage.empty()) return std::unexpected(Error(ErrorKind::kCorrupt, damage, EINVAL));
  return {};
}

void release_later(std::vector<HostRun>& unused, HostRun run) {
  if (run.count != 0) unused.push_back(run);
}

// One snapshot on its way in.
class Creation {
 public:
  Creation(Parts& parts, uint64_t step_bytes) : parts_(parts), steps_(parts, edit_, step_bytes) {}

  Task<Result<void>> run(Snapshot snapshot) {
    CO_TRY_VOID(co_await begin(std::move(snapshot)));
    auto counted = co_await steps_.share_frozen();
    if (counted) counted = co_await publish();
    if (!counted && !published_) (void)co_await undo();
    co_return std::move(counted);
  }

 private:
  // What the disk is at this moment is what the snapshot will have.
  Task<Result<void>> begin(Snapshot snapshot) {
    const Gate::Closed closed = co_await parts_.image.gate.close();
    auto cut = co_await cut_here(std::move(snapshot));
    if (cut) co_return {};
    parts_.image.frozen.thaw_all();
    auto undone = co_await edit_.finish(edit_.take_added());
    if (undone) (void)co_await edit_.mark_clean();
    co_return std::move(cut);
  }

  Task<Result<void>> cut_here(Snapshot snapshot) {
    const Image& image = parts_.image;
    CO_TRY_VOID(co_await hull::blockcore::qcow2::begin(edit_, *image.header));
    CO_TRY(SnapshotTable table, co_await read_whole_snapshot_table(*image.file, *image.header));
    CO_TRY_VOID(co_await edit_.mark_dirty());
    CO_TRY(const std::vector<uint64_t> l1, co_await steps_.freeze_active());
    snapshot.id = next_id(table.snapshots);
    snapshot.disk_bytes = image.header->size_bytes;
    snapshot.l1_entries = static_cast<uint32_t>(l1.size());
    std::vector<std::byte> l1_bytes = encode_shared(l1, 0);
    CO_TRY(snapshot.l1_offset, co_await edit_.add_table(std::move(l1_bytes)));
    table.snapshots.push_back(std::move(snapshot));
    CO_TRY(std::vector<std::byte> bytes, encode_snapshot_table(table.snapshots));
    old_table_ = clusters_of_table(image.geometry, image.header->snapshots_offset, table.bytes);
    count_ = table.snapshots.size();
    CO_TRY(table_offset_, co_await edit_.add_table(std::move(bytes)));
    co_return {};
  }

  Task<Result<void>> publish() {
    // Most of it becomes durable while requests run.
    CO_TRY_VOID(co_await parts_.committer.commit());
    const Gate::Closed closed = co_await parts_.image.gate.close();
    CO_TRY_VOID(co_await edit_.begin());
    published_ = true;
    auto done =
        co_await edit_.publish(with_snapshots(*parts_.image.header, table_offset_, count_), false);
    std::vector<HostRun> unused;
    if (done) release_later(unused, old_table_);
    auto finished = co_await edit_.finish(std::move(unused));
    co_return done ? std::move(finished) : std::move(done);
  }

  // If this fails as well, what was counted leaks, and the dirty bit stays where there is one.
  Task<Result<void>> undo() {
    co_await thaw();
    const std::vector<uint64_t> shared(steps_.shared().begin(), steps_.shared().end());
    CO_TRY_VOID(co_await steps_.drop(shared));
    CO_TRY_VOID(co_await steps_.restore_flags());
    CO_TRY_VOID(co_await parts_.committer.commit());
    const Gate::Closed closed = co_await parts_.image.gate.close();
    CO_TRY_VOID(co_await edit_.begin());
    std::vector<HostRun> added = edit_.take_added();
    auto marked = co_await edit_.mark_clean();
    auto finished = co_await edit_.finish(std::move(added));
    co_return marked ? std::move(finished) : std::move(marked);
  }

  // Nothing more is taken from the disk: whoever waits may go on.
  Task<void> thaw() {
    const Gate::Closed closed = co_await parts_.image.gate.close();
    parts_.image.frozen.thaw_all();
  }

  Parts& parts_;
  MetadataEdit edit_{parts_};
  MappingSteps steps_;
  HostRun old_table_;
  uint64_t table_offset_ = 0;
  size_t count_ = 0;
  bool published_ = false;
};

// One on its way out.
class Deletion {
 public:
  Deletion(Parts& parts, uint64_t step_bytes) : parts_(parts), steps_(parts, edit_, step_bytes) {}

  Task<Result<void>> run(size_t index) {
    CO_TRY_VOID(co_await begin(index));
    CO_TRY_VOID(co_await steps_.drop(l1_));
    CO_TRY_VOID(co_await steps_.restore_flags());
    CO_TRY_VOID(co_await parts_.committer.commit());
    CO_TRY_VOID(co_await parts_.committer.commit());
    const Gate::Closed closed = co_await parts_.image.gate.close();
    CO_TRY_VOID(co_await edit_.begin());
    auto marked = co_await edit_.mark_clean();
    auto finished = co_await edit_.finish(std::move(unused_));
    co_return marked ? std::move(finished) : std::move(marked);
  }

 private:
  // Nobody refers to it any more when this returns.
  Task<Result<void>> begin(size_t index) {
    CO_TRY_VOID(co_await parts_.committer.commit());
    const Gate::Closed closed = co_await parts_.image.gate.close();
    auto gone = co_await unlink(index);
    if (gone) gone = co_await parts_.image.guard.read_places();
    if (gone) co_return {};
    auto undone = co_await edit_.finish(edit_.take_added());
    if (undone && !published_) (void)co_await edit_.mark_clean();
    co_return std::move(gone);
  }

  Task<Result<void>> unlink(size_t index) {
    const Image& image = parts_.image;
    CO_TRY_VOID(co_await hull::blockcore::qcow2::begin(edit_, *image.header));
    CO_TRY(SnapshotTable table, co_await read_whole_snapshot_table(*image.file, *image.header));
    CO_TRY_VOID(check_usable(table, index));
    CO_TRY_VOID(co_await edit_.mark_dirty());
    const Snapshot snapshot = table.snapshots[index];
    CO_TRY(l1_, co_await read_table(*image.file, snapshot.l1_offset, snapshot.l1_entries));
    table.snapshots.erase(table.snapshots.begin() + static_cast<ptrdiff_t>(index));
    CO_TRY(std::vector<std::byte> bytes, encode_snapshot_table(table.snapshots));
    const uint64_t old_offset = image.header->snapshots_offset;
    CO_TRY(const uint64_t offset, co_await edit_.add_table(std::move(bytes)));
    release_later(unused_, clusters_of_table(image.geometry, old_offset, table.bytes));
    release_later(unused_, clusters_of_table(image.geometry, snapshot.l1_offset,
                                             uint64_t{snapshot.l1_entries} * 8));
    CO_TRY_VOID(co_await edit_.begin());
    published_ = true;
    co_return co_await edit_.publish(with_snapshots(*image.header, offset, table.snapshots.size()),
                                     true);
  }

  Parts& parts_;
  MetadataEdit edit_{parts_};
  MappingSteps steps_;
  std::vector<uint64_t> l1_;
  std::vector<HostRun> unused_;
  bool published_ = false;
};

Result<Snapshot> find_applicable(const SnapshotTable& table, size_t index, const Header& header) {
  if (auto checked = check_usable(table, index); !checked)
    return std::unexpected(std::move(checked).error());
  if (header.find_extension(kExtensionBitmaps) != nullptr)
    return std::unexpected(Error(ErrorKind::kBusy, "Device has active dirty bitmaps", EBUSY));
  const Snapshot& snapshot = table.snapshots[index];
  if (snapshot.disk_bytes > kMaxGuestBytes ||
      header.geometry.l1_entries_for(snapshot.disk_bytes) * 8 > kMaxL1Bytes)
    return fail(ErrorKind::kCorrupt, "snapshot table: the disk of entry {} has {:#x} bytes", index,
                snapshot.disk_bytes);
  return snapshot;
}

// The active mapping of the header becomes `changed`'s, of which nobody knows yet.
Task<Result<void>> change_mapping(Parts& parts, MetadataEdit& edit, const std::vector<uint64_t>& l1,
                                  Header changed) {
  const Header header = *parts.image.header;
  File& file = *parts.image.file;
  CO_TRY_VOID(co_await edit.count_mapping(l1, Step::kUp));
  CO_TRY_VOID(co_await edit.mark_dirty());
  changed.incompatible = parts.image.header->incompatible;
  // The snapshot's own tables may hold flags from times when it was the active mapping. No table
  // of it has one reference now.
  CO_TRY_VOID(co_await edit.write_copied_flags(l1));
  CO_TRY_VOID(co_await edit.write_refcounts());
  CO_TRY(const std::vector<uint64_t> old,
         co_await read_table(file, header.l1_offset, header.l1_entries));
  CO_TRY_VOID(co_await edit.publish(std::move(changed), true));
  CO_TRY_VOID(co_await edit.count_mapping(old, Step::kDown));
  CO_TRY_VOID(co_await edit.write_refcounts());
  CO_TRY_VOID(co_await edit.mark_clean());
  for (const HostRun run : edit.freed())
    (void)co_await file.discard(parts.image.geometry.offset_of(run.first),
                                parts.image.geometry.offset_of(run.count));
  co_return {};
}

// Returns what is unused after a success.
Task<Result<std::vector<HostRun>>> apply_now(Parts& parts, MetadataEdit& edit, size_t index) {
  Image& image = parts.image;
  const Header header = *image.header;
  CO_TRY_VOID(co_await begin(edit, header));
  CO_TRY(const SnapshotTable table, co_await read_whole_snapshot_table(*image.file, header));
  CO_TRY(const Snapshot snapshot, find_applicable(table, index, header));
  CO_TRY(const std::vector<uint64_t> l1,
         co_await read_table(*image.file, snapshot.l1_offset, snapshot.l1_entries));
  std::vector<std::byte> bytes =
      encode_shared(l1, image.geometry.l1_entries_for(snapshot.disk_bytes));
  const auto entries = static_cast<uint32_t>(bytes.size() / 8);
  CO_TRY(const uint64_t offset, co_await edit.add_table(std::move(bytes)));
  Header changed = *image.header;
  changed.size_bytes = snapshot.disk_bytes;
  changed.l1_entries = entries;
  changed.l1_offset = offset;
  CO_TRY_VOID(co_await change_mapping(parts, edit, l1, std::move(changed)));
  std::vector<HostRun> unused;
  release_later(
      unused, clusters_of_table(image.geometry, header.l1_offset, uint64_t{header.l1_entries} * 8));
  co_return unused;
}

}  // namespace

Task<Result<void>> create_snapshot(Parts& parts, Snapshot snapshot, uint64_t step_bytes) {
  const AsyncMutex::Guard editing = co_await parts.editing.lock();
  Creation creation(parts, step_bytes);
  co_return co_await creation.run(std::move(snapshot));
}

Task<Result<void>> delete_snapshot(Parts& parts, size_t index, uint64_t step_bytes) {
  const AsyncMutex::Guard editing = co_await parts.editing.lock();
  Deletion deletion(parts, step_bytes);
  co_return co_await deletion.run(index);
}

Task<Result<void>> apply_snapshot(Parts& parts, size_t index) {
  const AsyncMutex::Guard editing = co_await parts.editing.lock();
  const Gate::Closed closed = co_await parts.image.gate.close();
  MetadataEdit edit(parts);
  auto applied = co_await apply_now(parts, edit, index);
  std::vector<HostRun> unused = applied ? *applied : edit.take_added();
  auto finished = co_await edit.finish(std::move(unused));
  if (!applied) co_return std::unexpected(std::move(applied).error());
  co_return std::move(finished);
}

Task<Result<std::vector<Snapshot>>> list_snapshots(Parts& parts) {
  CO_TRY(SnapshotTable table, co_await read_snapshot_table(*parts.image.file, *parts.image.header));
  if (!table.cut.empty()) LOG_WARN("{}: {}", parts.image.file->path(), table.cut);
  co_return std::move(table.snapshots);
}

}  // namespace hull::blockcore::qcow2
