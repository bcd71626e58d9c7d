#include "blockcore/qcow2/snapshots.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "blockcore/qcow2/metadata_edit.h"
#include "blockcore/qcow2/references.h"

namespace hull::blockcore::qcow2 {
namespace {

std::string next_id(const std::vector<Snapshot>& snapshots) {
  uint64_t largest = 0;
  for (const Snapshot& snapshot : snapshots)
    largest = std::max<uint64_t>(largest, std::strtoul(snapshot.id.c_str(), nullptr, 10));
  return fmt::format("{}", largest + 1);
}

// Of the mapping at `offset`, in its encoded form: at least `entries`, none marked as unshared.
Task<Result<std::vector<std::byte>>> copy_l1(File& file, uint64_t offset, uint64_t entries,
                                             uint64_t wanted_entries) {
  CO_TRY(std::vector<uint64_t> l1, co_await read_table(file, offset, entries));
  for (uint64_t& entry : l1) entry &= ~kCopiedFlag;
  l1.resize(std::max(entries, wanted_entries));
  co_return encode_table(l1);
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

Result<void> check_index(const SnapshotTable& table, size_t index) {
  if (index < table.snapshots.size()) return {};
  return std::unexpected(Error(ErrorKind::kInvalidConfig, "there is no such snapshot", ENOENT));
}

Task<Result<std::vector<HostRun>>> create_now(Parts& parts, MetadataEdit& edit, Snapshot snapshot) {
  Image& image = parts.image;
  File& file = *image.file;
  const Header header = *image.header;
  CO_TRY_VOID(co_await begin(edit, header));
  CO_TRY(SnapshotTable table, co_await read_snapshot_table(file, header));
  CO_TRY(std::vector<std::byte> l1, co_await copy_l1(file, header.l1_offset, header.l1_entries, 0));
  snapshot.id = next_id(table.snapshots);
  snapshot.disk_bytes = header.size_bytes;
  snapshot.l1_entries = header.l1_entries;
  CO_TRY(snapshot.l1_offset, co_await edit.add_table(std::move(l1)));
  table.snapshots.push_back(std::move(snapshot));
  CO_TRY(std::vector<std::byte> bytes, encode_snapshot_table(table.snapshots));
  CO_TRY(const uint64_t offset, co_await edit.add_table(std::move(bytes)));

  CO_TRY_VOID(co_await edit.count_mapping(header.l1_offset, header.l1_entries, Step::kUp));
  CO_TRY_VOID(co_await edit.mark_dirty());
  CO_TRY_VOID(co_await edit.write_copied_flags(header.l1_offset, header.l1_entries));
  CO_TRY_VOID(co_await edit.write_refcounts());
  CO_TRY_VOID(
      co_await edit.publish(with_snapshots(*image.header, offset, table.snapshots.size()), false));
  co_return std::vector<HostRun>{
      clusters_of_table(image.geometry, header.snapshots_offset, table.bytes)};
}

Task<Result<std::vector<HostRun>>> delete_now(Parts& parts, MetadataEdit& edit, size_t index) {
  Image& image = parts.image;
  const Header header = *image.header;
  CO_TRY_VOID(co_await begin(edit, header));
  CO_TRY(SnapshotTable table, co_await read_snapshot_table(*image.file, header));
  CO_TRY_VOID(check_index(table, index));
  const Snapshot snapshot = table.snapshots[index];
  table.snapshots.erase(table.snapshots.begin() + static_cast<ptrdiff_t>(index));
  CO_TRY(std::vector<std::byte> bytes, encode_snapshot_table(table.snapshots));
  CO_TRY(const uint64_t offset, co_await edit.add_table(std::move(bytes)));

  // In memory first: if the counts are wrong, nothing has happened.
  CO_TRY_VOID(co_await edit.count_mapping(snapshot.l1_offset, snapshot.l1_entries, Step::kDown));
  CO_TRY_VOID(co_await edit.mark_dirty());
  CO_TRY_VOID(
      co_await edit.publish(with_snapshots(*image.header, offset, table.snapshots.size()), true));
  CO_TRY_VOID(co_await edit.write_refcounts());
  CO_TRY_VOID(co_await edit.write_copied_flags(header.l1_offset, header.l1_entries));
  CO_TRY_VOID(co_await edit.mark_clean());
  co_await edit.give_back();
  co_return std::vector<HostRun>{
      clusters_of_table(image.geometry, header.snapshots_offset, table.bytes),
      clusters_of_table(image.geometry, snapshot.l1_offset, uint64_t{snapshot.l1_entries} * 8)};
}

Result<Snapshot> find_applicable(const SnapshotTable& table, size_t index, const Header& header) {
  if (auto checked = check_index(table, index); !checked)
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

Task<Result<std::vector<HostRun>>> apply_now(Parts& parts, MetadataEdit& edit, size_t index) {
  Image& image = parts.image;
  const Header header = *image.header;
  CO_TRY_VOID(co_await begin(edit, header));
  CO_TRY(const SnapshotTable table, co_await read_snapshot_table(*image.file, header));
  CO_TRY(const Snapshot snapshot, find_applicable(table, index, header));
  CO_TRY(std::vector<std::byte> l1,
         co_await copy_l1(*image.file, snapshot.l1_offset, snapshot.l1_entries,
                          image.geometry.l1_entries_for(snapshot.disk_bytes)));
  Header changed = header;
  changed.size_bytes = snapshot.disk_bytes;
  changed.l1_entries = static_cast<uint32_t>(l1.size() / 8);
  CO_TRY(changed.l1_offset, co_await edit.add_table(std::move(l1)));

  CO_TRY_VOID(co_await edit.count_mapping(snapshot.l1_offset, snapshot.l1_entries, Step::kUp));
  CO_TRY_VOID(co_await edit.mark_dirty());
  changed.incompatible = image.header->incompatible;
  // The snapshot's own tables may hold flags from times when it was the active mapping.
  CO_TRY_VOID(co_await edit.write_copied_flags(changed.l1_offset, changed.l1_entries));
  CO_TRY_VOID(co_await edit.write_refcounts());
  CO_TRY_VOID(co_await edit.publish(std::move(changed), true));
  CO_TRY_VOID(co_await edit.count_mapping(header.l1_offset, header.l1_entries, Step::kDown));
  CO_TRY_VOID(co_await edit.write_refcounts());
  CO_TRY_VOID(co_await edit.mark_clean());
  co_await edit.give_back();
  co_return std::vector<HostRun>{
      clusters_of_table(image.geometry, header.l1_offset, uint64_t{header.l1_entries} * 8)};
}

// `now` returns what is unused after a success.
Task<Result<void>> finish(MetadataEdit& edit, Result<std::vector<HostRun>> now) {
  std::vector<HostRun> unused = now ? *now : edit.take_added();
  std::erase_if(unused, [](const HostRun& run) { return run.count == 0; });
  auto finished = co_await edit.finish(std::move(unused));
  if (!now) co_return std::unexpected(std::move(now).error());
  co_return std::move(finished);
}

}  // namespace

Task<Result<void>> create_snapshot(Parts& parts, Snapshot snapshot) {
  MetadataEdit edit(parts);
  auto now = co_await create_now(parts, edit, std::move(snapshot));
  co_return co_await finish(edit, std::move(now));
}

Task<Result<void>> apply_snapshot(Parts& parts, size_t index) {
  MetadataEdit edit(parts);
  auto now = co_await apply_now(parts, edit, index);
  co_return co_await finish(edit, std::move(now));
}

Task<Result<void>> delete_snapshot(Parts& parts, size_t index) {
  MetadataEdit edit(parts);
  auto now = co_await delete_now(parts, edit, index);
  co_return co_await finish(edit, std::move(now));
}

Task<Result<std::vector<Snapshot>>> list_snapshots(Parts& parts) {
  CO_TRY(SnapshotTable table, co_await read_snapshot_table(*parts.image.file, *parts.image.header));
  co_return std::move(table.snapshots);
}

std::optional<size_t> find_snapshot_by_id(const std::vector<Snapshot>& all, std::string_view id) {
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].id == id) return i;
  return std::nullopt;
}

std::optional<size_t> find_snapshot_by_name(const std::vector<Snapshot>& all,
                                            std::string_view name) {
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].name == name) return i;
  return std::nullopt;
}

}  // namespace hull::blockcore::qcow2
