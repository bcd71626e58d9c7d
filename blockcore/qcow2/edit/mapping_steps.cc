#include "blockcore/qcow2/edit/mapping_steps.h"

#include "base/endian.h"
#include "blockcore/qcow2/check/references.h"

namespace hull::blockcore::qcow2 {

// What lies behind the disk (saved state of a VM) is not in memory, and nobody else changes it.
uint64_t MappingSteps::active_entry(uint64_t index) const {
  const HostTable& l1 = parts_.image.map.l1();
  return index < l1.size() ? l1[index] : active_[index];
}

Task<Result<void>> MappingSteps::set_active_entry(uint64_t index, uint64_t value) {
  HostTable& l1 = parts_.image.map.l1();
  if (active_entry(index) == value) co_return {};
  if (index < l1.size()) {
    l1.set(index, value);
    co_return {};
  }
  const Be64 raw = value;
  CO_TRY_VOID(co_await write_exactly(*parts_.image.file, l1.host_offset() + index * sizeof raw,
                                     std::as_bytes(std::span(&raw, 1))));
  active_[index] = value;
  co_return {};
}

Task<Result<std::vector<uint64_t>>> MappingSteps::freeze_active() {
  const Header& header = *parts_.image.header;
  CO_TRY(active_, co_await read_table(*parts_.image.file, header.l1_offset, header.l1_entries));
  std::vector<uint64_t> indexes;
  for (uint64_t i = 0; i < active_.size(); ++i)
    if ((active_[i] & kOffsetMask) != 0) indexes.push_back(i);
  parts_.image.frozen.freeze(indexes);
  co_return active_;
}

Task<Result<void>> MappingSteps::share_frozen() {
  FrozenTables& frozen = parts_.image.frozen;
  while (frozen.any()) {
    const Gate::Closed closed = co_await parts_.image.gate.close();
    CO_TRY_VOID(co_await edit_.begin_step());
    const std::vector<uint64_t> indexes = frozen.choose(tables_);
    auto done = co_await share(indexes);
    edit_.end_step();
    if (!done) co_return std::move(done);
    frozen.thaw(indexes);
  }
  co_return {};
}

Task<Result<void>> MappingSteps::share(std::span<const uint64_t> indexes) {
  std::vector<uint64_t> entries;
  entries.reserve(indexes.size());
  for (const uint64_t index : indexes) entries.push_back(active_entry(index));
  // In memory first: a count that is full changes nothing.
  CO_TRY_VOID(co_await edit_.count_mapping(entries, Step::kUp));
  CO_TRY_VOID(co_await edit_.write_copied_flags(entries));
  for (const uint64_t index : indexes) {
    CO_TRY_VOID(co_await edit_.correct_cached_flags(index));
    CO_TRY_VOID(co_await set_active_entry(index, active_entry(index) & ~kCopiedFlag));
  }
  // Without the dirty bit no count may be higher while COPIED is set.
  if (!parts_.image.header->dirty()) CO_TRY_VOID(co_await parts_.committer.commit());
  CO_TRY_VOID(co_await edit_.store_refcounts());
  shared_.insert(shared_.end(), entries.begin(), entries.end());
  co_return {};
}

Task<Result<void>> MappingSteps::drop(std::span<const uint64_t> l1) {
  Refcounts& refcounts = parts_.image.refcounts;
  std::vector<uint64_t> entries;
  for (size_t next = 0; next < l1.size();) {
    entries.clear();
    for (; next < l1.size() && entries.size() < tables_; ++next)
      if ((l1[next] & kOffsetMask) != 0) entries.push_back(l1[next]);
    CO_TRY(const std::vector<HostRun> freed, co_await drop_counted(entries));
    for (const HostRun run : freed)
      (void)co_await parts_.image.file->discard(parts_.image.geometry.offset_of(run.first),
                                                parts_.image.geometry.offset_of(run.count));
    refcounts.end_holding(freed);
  }
  co_return {};
}

Task<Result<std::vector<HostRun>>> MappingSteps::drop_counted(std::span<const uint64_t> l1) {
  const Gate::Closed closed = co_await parts_.image.gate.close();
  CO_TRY_VOID(co_await edit_.begin_step());
  auto done = co_await edit_.count_mapping(l1, Step::kDown);
  if (done) done = co_await edit_.store_refcounts();
  edit_.end_step();
  if (!done) co_return std::unexpected(std::move(done).error());
  std::vector<HostRun> freed = edit_.freed();
  parts_.image.refcounts.begin_holding(freed);
  co_return freed;
}

// Tables that requests add meanwhile have the right flags from the start.
Task<Result<void>> MappingSteps::restore_flags() {
  const Header& header = *parts_.image.header;
  CO_TRY(active_, co_await read_table(*parts_.image.file, header.l1_offset, header.l1_entries));
  for (uint64_t next = 0; next < active_.size();) {
    const Gate::Closed closed = co_await parts_.image.gate.close();
    CO_TRY_VOID(co_await edit_.begin_step());
    const std::vector<uint64_t> indexes = next_active(next);
    auto done = co_await restore(indexes);
    edit_.end_step();
    if (!done) co_return std::move(done);
  }
  co_return {};
}

std::vector<uint64_t> MappingSteps::next_active(uint64_t& index) const {
  std::vector<uint64_t> indexes;
  for (; index < active_.size() && indexes.size() < tables_; ++index)
    if ((active_entry(index) & kOffsetMask) != 0) indexes.push_back(index);
  return indexes;
}

Task<Result<void>> MappingSteps::restore(std::span<const uint64_t> indexes) {
  std::vector<uint64_t> entries;
  entries.reserve(indexes.size());
  for (const uint64_t index : indexes) entries.push_back(active_entry(index));
  CO_TRY_VOID(co_await edit_.write_copied_flags(entries));
  for (const uint64_t index : indexes) {
    CO_TRY_VOID(co_await edit_.correct_cached_flags(index));
    CO_TRY(const uint64_t entry, co_await edit_.flagged(active_entry(index)));
    CO_TRY_VOID(co_await set_active_entry(index, entry));
  }
  co_return {};
}

}  // namespace hull::blockcore::qcow2
