#include "blockcore/qcow2/edit/refcount_changes.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/checked.h"
#include "base/endian.h"
#include "blockcore/qcow2/format/refcount_block.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr uint64_t kMaxWriteBytes = 4 << 20;

uint64_t load_word(const std::byte* at) {
  Be64 word;
  std::memcpy(&word, at, sizeof word);
  return word;
}

}  // namespace

void RefcountChanges::drop_blocks() {
  blocks_.clear();
  blocks_.resize(table_.size());
  loaded_bytes_ = 0;
}

void RefcountChanges::restart() {
  drop_blocks();
  freed_.clear();
  first_freed_ = ~uint64_t{0};
}

HostRun RefcountChanges::clusters_of(L2Entry entry) const {
  if (entry.compressed()) {
    const CompressedExtent extent = compressed_extent(entry, geometry_.cluster_bits);
    const uint64_t first = geometry_.cluster_of(extent.host_offset);
    return {first, geometry_.cluster_of(extent.host_offset + extent.bytes - 1) - first + 1};
  }
  const uint64_t host = entry.host_offset();
  return {geometry_.cluster_of(host), host == 0 ? 0U : 1U};
}

Task<Result<void>> RefcountChanges::load(uint64_t cluster) {
  const uint64_t index = cluster >> geometry_.refcounts_per_block_bits();
  const uint64_t offset = index < table_.size() ? table_[index] & kRefcountOffsetMask : 0;
  if (offset == 0 || offset >= kMaxHostBytes || geometry_.offset_in_cluster(offset) != 0)
    co_return fail(ErrorKind::kCorrupt,
                   "{}: no refcount block describes the host cluster at {:#x}, which is in use",
                   file_.path(), geometry_.offset_of(cluster));
  const uint64_t bytes = geometry_.cluster_bytes();
  if (loaded_bytes_ + bytes > most_bytes_) CO_TRY_VOID(co_await make_room());
  auto block = std::make_unique<Block>();
  block->host_offset = offset;
  block->bytes = std::make_unique_for_overwrite<std::byte[]>(bytes);
  const iovec buffer{block->bytes.get(), bytes};
  CO_TRY_VOID(co_await file_.read_or_zero(offset, {&buffer, 1}));
  loaded_bytes_ += bytes;
  blocks_[index] = std::move(block);
  co_return {};
}

// All at once: whoever goes through a mapping comes by most of them again at the same time.
Task<Result<void>> RefcountChanges::make_room() {
  CO_TRY_VOID(co_await write());
  drop_blocks();
  co_return {};
}

Result<void> RefcountChanges::change_one(uint64_t cluster, Step step, Block& block) {
  const uint64_t index = cluster & (geometry_.refcounts_per_block() - 1);
  const uint32_t order = geometry_.refcount_order;
  const uint64_t count = get_refcount(block.bytes.get(), order, index);
  if (count == 0)
    return fail(ErrorKind::kCorrupt,
                "{}: the host cluster at {:#x} is in use but its refcount is 0", file_.path(),
                geometry_.offset_of(cluster));
  if (step == Step::kUp && count == geometry_.max_refcount())
    return std::unexpected(Error(
        ErrorKind::kOutOfRange,
        fmt::format("{}: the refcount of the host cluster at {:#x} is {}, the largest that "
                    "refcounts of {} bits can hold",
                    file_.path(), geometry_.offset_of(cluster), count, geometry_.refcount_bits()),
        EINVAL));
  const uint64_t changed = step == Step::kUp ? count + 1 : count - 1;
  set_refcount(block.bytes.get(), order, index, changed);
  block.dirty = true;
  if (changed == 0) {
    add_run(freed_, {cluster, 1});
    first_freed_ = std::min(first_freed_, cluster);
  }
  return {};
}

Task<Result<void>> RefcountChanges::change(HostRun run, Step step) {
  if (run.first + run.count > geometry_.cluster_of(kMaxHostBytes))
    co_return fail(ErrorKind::kCorrupt, "{}: something refers to the host offset {:#x}",
                   file_.path(), geometry_.offset_of(run.first));
  for (uint64_t cluster = run.first; cluster < run.first + run.count; ++cluster) {
    const uint64_t index = cluster >> geometry_.refcounts_per_block_bits();
    if (index >= blocks_.size() || blocks_[index] == nullptr) CO_TRY_VOID(co_await load(cluster));
    CO_TRY_VOID(change_one(cluster, step, *loaded(cluster)));
  }
  co_return {};
}

Task<Result<void>> RefcountChanges::change_entries(const std::byte* table, Step step) {
  const uint64_t entry_bytes = geometry_.l2_entry_bytes();
  for (uint64_t at = 0; at < geometry_.cluster_bytes(); at += entry_bytes) {
    const L2Entry entry{load_word(table + at)};
    if (!entry.compressed() && geometry_.offset_in_cluster(entry.host_offset()) != 0)
      co_return fail(ErrorKind::kCorrupt, "{}: an L2 entry is {:#x}", file_.path(), entry.value);
    const HostRun run = clusters_of(entry);
    if (run.count == 0) continue;
    const uint64_t index = run.first >> geometry_.refcounts_per_block_bits();
    if (run.count == 1 && index < blocks_.size() && blocks_[index] != nullptr) {
      CO_TRY_VOID(change_one(run.first, step, *blocks_[index]));
    } else {
      CO_TRY_VOID(co_await change(run, step));
    }
  }
  co_return {};
}

Task<Result<uint64_t>> RefcountChanges::count(uint64_t cluster) {
  const uint64_t index = cluster >> geometry_.refcounts_per_block_bits();
  if (index >= blocks_.size() || blocks_[index] == nullptr) CO_TRY_VOID(co_await load(cluster));
  co_return get_refcount(loaded(cluster)->bytes.get(), geometry_.refcount_order,
                         cluster & (geometry_.refcounts_per_block() - 1));
}

Task<Result<bool>> RefcountChanges::correct_copied(std::span<std::byte> table) {
  bool changed = false;
  const uint64_t entry_bytes = geometry_.l2_entry_bytes();
  const uint64_t in_block = geometry_.refcounts_per_block() - 1;
  for (uint64_t at = 0; at < table.size(); at += entry_bytes) {
    const L2Entry entry{load_word(table.data() + at)};
    const HostRun run = clusters_of(entry);
    if (entry.compressed() || run.count == 0) continue;
    const uint64_t index = run.first >> geometry_.refcounts_per_block_bits();
    if (index >= blocks_.size() || blocks_[index] == nullptr) CO_TRY_VOID(co_await load(run.first));
    const uint64_t references =
        get_refcount(blocks_[index]->bytes.get(), geometry_.refcount_order, run.first & in_block);
    const uint64_t wanted =
        references == 1 ? entry.value | kCopiedFlag : entry.value & ~kCopiedFlag;
    if (wanted == entry.value) continue;
    const Be64 word = wanted;
    std::memcpy(table.data() + at, &word, sizeof word);
    changed = true;
  }
  co_return changed;
}

Task<Result<void>> RefcountChanges::write() {
  std::vector<Block*> dirty;
  for (const auto& block : blocks_)
    if (block != nullptr && block->dirty) dirty.push_back(block.get());
  std::ranges::sort(dirty, {}, &Block::host_offset);
  const uint64_t bytes = geometry_.cluster_bytes();
  std::vector<iovec> buffers;
  for (size_t first = 0; first < dirty.size();) {
    const uint64_t offset = dirty[first]->host_offset;
    buffers.clear();
    size_t next = first;
    while (next < dirty.size() && (next - first) * bytes < kMaxWriteBytes &&
           dirty[next]->host_offset == offset + (next - first) * bytes)
      buffers.push_back({dirty[next++]->bytes.get(), bytes});
    CO_TRY_VOID(co_await file_.write(offset, buffers));
    for (; first < next; ++first) dirty[first]->dirty = false;
  }
  co_return {};
}

}  // namespace hull::blockcore::qcow2
