#include "blockcore/qcow2/format/snapshot_table.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"

namespace hull::blockcore::qcow2 {
namespace {

struct SnapshotLayout {
  Be64 l1_offset;             // 0
  Be32 l1_entries;            // 8
  Be16 id_bytes;              // 12
  Be16 name_bytes;            // 14
  Be32 date_seconds;          // 16
  Be32 date_nanoseconds;      // 20
  Be64 vm_clock_nanoseconds;  // 24
  Be32 vm_state_bytes;        // 32
  Be32 extra_bytes;           // 36
};
static_assert(sizeof(SnapshotLayout) == 40);

struct SnapshotExtraLayout {
  Be64 vm_state_bytes;     // 40
  Be64 disk_bytes;         // 48
  Be64 instruction_count;  // 56
};
static_assert(sizeof(SnapshotExtraLayout) == 24);

std::string bad_snapshot(size_t index, std::string_view field, uint64_t value) {
  return fmt::format("snapshot table: {} of entry {} is {:#x}", field, index, value);
}

void decode_extra(const SnapshotLayout& raw, std::span<const std::byte> extra, Snapshot& snapshot) {
  SnapshotExtraLayout fields{};
  if (!extra.empty()) std::memcpy(&fields, extra.data(), std::min(extra.size(), sizeof fields));
  snapshot.vm_state_bytes =
      extra.size() >= 8 ? fields.vm_state_bytes.get() : uint64_t{raw.vm_state_bytes.get()};
  snapshot.incomplete = extra.size() < 16;
  if (!snapshot.incomplete) snapshot.disk_bytes = fields.disk_bytes;
  if (extra.size() >= 24 && fields.instruction_count != ~uint64_t{0})
    snapshot.instruction_count = fields.instruction_count;
  if (extra.size() > sizeof fields)
    snapshot.unknown_extra.assign(extra.begin() + sizeof fields, extra.end());
}

void append(std::vector<std::byte>& bytes, const void* data, size_t size) {
  const auto* const begin = static_cast<const std::byte*>(data);
  bytes.insert(bytes.end(), begin, begin + size);
}

void append_snapshot(const Snapshot& snapshot, std::vector<std::byte>& bytes) {
  SnapshotLayout raw{};
  raw.l1_offset = snapshot.l1_offset;
  raw.l1_entries = snapshot.l1_entries;
  raw.id_bytes = static_cast<uint16_t>(snapshot.id.size());
  raw.name_bytes = static_cast<uint16_t>(snapshot.name.size());
  raw.date_seconds = snapshot.date_seconds;
  raw.date_nanoseconds = snapshot.date_nanoseconds;
  raw.vm_clock_nanoseconds = snapshot.vm_clock_nanoseconds;
  // What does not fit is 0 here; everybody reads the one below.
  const bool fits = snapshot.vm_state_bytes <= ~uint32_t{0};
  raw.vm_state_bytes = fits ? static_cast<uint32_t>(snapshot.vm_state_bytes) : 0;
  raw.extra_bytes =
      static_cast<uint32_t>(sizeof(SnapshotExtraLayout) + snapshot.unknown_extra.size());
  const SnapshotExtraLayout extra{snapshot.vm_state_bytes, snapshot.disk_bytes,
                                  snapshot.instruction_count.value_or(~uint64_t{0})};
  append(bytes, &raw, sizeof raw);
  append(bytes, &extra, sizeof extra);
  append(bytes, snapshot.unknown_extra.data(), snapshot.unknown_extra.size());
  append(bytes, snapshot.id.data(), snapshot.id.size());
  append(bytes, snapshot.name.data(), snapshot.name.size());
  bytes.resize(align_up<size_t>(bytes.size(), 8));
}

Snapshot decode_fixed(const SnapshotLayout& raw, size_t index, const Header& header) {
  const Geometry& geometry = header.geometry;
  Snapshot snapshot;
  snapshot.l1_offset = raw.l1_offset;
  snapshot.l1_entries = raw.l1_entries;
  const uint64_t l1_bytes = uint64_t{snapshot.l1_entries} * 8;
  if (l1_bytes > kMaxL1Bytes)
    snapshot.damage = bad_snapshot(index, "l1_size", snapshot.l1_entries);
  else if (geometry.offset_in_cluster(snapshot.l1_offset) != 0 ||
           !range_fits(snapshot.l1_offset, l1_bytes, kMaxHostBytes))
    snapshot.damage = bad_snapshot(index, "l1_table_offset", snapshot.l1_offset);
  snapshot.date_seconds = raw.date_seconds;
  snapshot.date_nanoseconds = raw.date_nanoseconds;
  snapshot.vm_clock_nanoseconds = raw.vm_clock_nanoseconds;
  snapshot.disk_bytes = header.size_bytes;
  return snapshot;
}

// What the header says of the table, for which its decoder takes everything.
Result<void> check_place(const Header& header) {
  if (header.snapshot_count > kMaxSnapshots)
    return fail(ErrorKind::kCorrupt, "qcow2 header: nb_snapshots (byte 60) is {:#x}, more than {}",
                header.snapshot_count, kMaxSnapshots);
  if (header.snapshots_offset == 0 ||
      header.geometry.offset_in_cluster(header.snapshots_offset) != 0 ||
      !range_fits(header.snapshots_offset, uint64_t{header.snapshot_count} * sizeof(SnapshotLayout),
                  kMaxHostBytes))
    return fail(ErrorKind::kCorrupt, "qcow2 header: snapshots_offset (byte 64) is {:#x}",
                header.snapshots_offset);
  return {};
}

// Appends the entry that begins where the table ends so far. Errors also for one whose length
// cannot be known.
Task<Result<void>> read_entry(File& file, const Header& header, SnapshotTable& table) {
  const size_t index = table.snapshots.size();
  SnapshotLayout raw;
  const uint64_t offset = header.snapshots_offset + table.bytes;
  CO_TRY_VOID(co_await read_exactly(file, offset, std::as_writable_bytes(std::span(&raw, 1))));
  // What a table reads as that is not there.
  if (raw.l1_offset == 0 && raw.l1_entries == 0 && raw.id_bytes == 0)
    co_return fail(ErrorKind::kCorrupt, "snapshot table: entry {} is empty", index);
  if (raw.extra_bytes > kMaxSnapshotExtraBytes)
    co_return fail(ErrorKind::kCorrupt, "{}",
                   bad_snapshot(index, "extra_data_size", raw.extra_bytes));
  Snapshot snapshot = decode_fixed(raw, index, header);
  std::vector<std::byte> rest(raw.extra_bytes.get() + raw.id_bytes.get() +
                              size_t{raw.name_bytes.get()});
  CO_TRY_VOID(co_await read_exactly(file, offset + sizeof raw, rest));
  decode_extra(raw, std::span(rest).first(raw.extra_bytes), snapshot);
  const auto* text = reinterpret_cast<const char*>(rest.data()) + raw.extra_bytes;
  snapshot.id.assign(text, raw.id_bytes);
  snapshot.name.assign(text + raw.id_bytes, raw.name_bytes);
  const uint64_t end = table.bytes + align_up<uint64_t>(sizeof raw + rest.size(), 8);
  if (end > kMaxSnapshotTableBytes)
    co_return fail(ErrorKind::kCorrupt, "snapshot table: has more than 64 MiB");
  table.bytes = end;
  table.snapshots.push_back(std::move(snapshot));
  co_return {};
}

}  // namespace

Result<std::vector<std::byte>> encode_snapshot_table(const std::vector<Snapshot>& snapshots) {
  if (snapshots.size() > kMaxSnapshots)
    return fail(ErrorKind::kOutOfRange, "an image can have {} snapshots and no more",
                kMaxSnapshots);
  std::vector<std::byte> bytes;
  for (const Snapshot& snapshot : snapshots) {
    append_snapshot(snapshot, bytes);
    if (bytes.size() > kMaxSnapshotTableBytes)
      return fail(ErrorKind::kOutOfRange, "the snapshot table would exceed 64 MiB");
  }
  return bytes;
}

Task<Result<SnapshotTable>> read_snapshot_table(File& file, const Header& header) {
  SnapshotTable table;
  if (header.snapshot_count == 0) co_return table;
  Result<void> read = check_place(header);
  while (read && table.snapshots.size() < header.snapshot_count)
    read = co_await read_entry(file, header, table);
  if (read) co_return table;
  if (read.error().is_of_host()) co_return std::unexpected(std::move(read).error());
  table.cut = fmt::format("{}; of {} snapshots the first {} are known", read.error().message(),
                          header.snapshot_count, table.snapshots.size());
  co_return table;
}

Task<Result<SnapshotTable>> read_whole_snapshot_table(File& file, const Header& header) {
  CO_TRY(SnapshotTable table, co_await read_snapshot_table(file, header));
  if (!table.cut.empty()) co_return fail(ErrorKind::kCorrupt, "{}", table.cut);
  co_return table;
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

Task<Result<Snapshot>> find_snapshot(File& file, const Header& header,
                                     const SnapshotChoice& choice) {
  CO_TRY(const SnapshotTable table, co_await read_snapshot_table(file, header));
  const auto& all = table.snapshots;
  const auto fits = [&choice](const Snapshot& one) {
    return (!choice.id || one.id == *choice.id) && (!choice.name || one.name == *choice.name);
  };
  auto found = choice.any ? std::ranges::find(all, *choice.any, &Snapshot::id)
                          : std::ranges::find_if(all, fits);
  if (found == all.end() && choice.any)
    found = std::ranges::find(all, *choice.any, &Snapshot::name);
  if (found == all.end())
    co_return table.cut.empty()
        ? fail(ErrorKind::kInvalidConfig, "Failed to load snapshot: Can't find snapshot")
        : fail(ErrorKind::kCorrupt, "{}", table.cut);
  if (!found->damage.empty()) co_return fail(ErrorKind::kCorrupt, "{}", found->damage);
  if (found->l1_entries != 0 && found->l1_offset == 0)
    co_return fail(ErrorKind::kCorrupt, "snapshot table: the L1 table of '{}' is the header itself",
                   found->name);
  const uint64_t needed = header.geometry.l1_entries_for(found->disk_bytes);
  if (found->disk_bytes > kMaxGuestBytes || needed * 8 > kMaxL1Bytes || needed > found->l1_entries)
    co_return fail(ErrorKind::kCorrupt, "snapshot table: the disk of '{}' has {:#x} bytes",
                   found->name, found->disk_bytes);
  co_return *found;
}

}  // namespace hull::blockcore::qcow2
