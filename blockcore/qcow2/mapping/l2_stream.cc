#include "blockcore/qcow2/mapping/l2_stream.h"

#include <algorithm>

#include "blockcore/async/run_all.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr uint64_t kBatchBytes = 8 << 20;
constexpr uint64_t kTransferBytes = 1 << 20;

}  // namespace

L2Stream::L2Stream(File& file, const Geometry& geometry, std::span<const uint64_t> l1)
    : file_(file), geometry_(geometry) {
  for (const uint64_t entry : l1)
    if ((entry & kOffsetMask) != 0) offsets_.push_back(entry & kOffsetMask);
  std::ranges::sort(offsets_);
}

Task<Result<void>> L2Stream::transfer(std::span<Table> row, bool is_write) {
  const iovec buffer{row.front().bytes, geometry_.offset_of(row.size())};
  if (is_write) co_return co_await file_.write(row.front().host_offset, {&buffer, 1});
  co_return co_await file_.read_or_zero(row.front().host_offset, {&buffer, 1});
}

Task<Result<std::span<L2Stream::Table>>> L2Stream::next() {
  const uint64_t bytes = geometry_.cluster_bytes();
  const size_t batch =
      std::min<size_t>(std::max<uint64_t>(kBatchBytes / bytes, 1), offsets_.size() - at_);
  if (memory_ == nullptr) memory_ = std::make_unique_for_overwrite<std::byte[]>(batch * bytes);
  tables_.clear();
  for (size_t i = 0; i < batch; ++i) {
    const uint64_t offset = offsets_[at_++];
    if (geometry_.offset_in_cluster(offset) != 0)
      co_return fail(ErrorKind::kCorrupt, "{}: an L1 entry points at {:#x}", file_.path(), offset);
    tables_.push_back({offset, memory_.get() + i * bytes, true});
  }
  CO_TRY_VOID(co_await transfer_rows(false));
  for (Table& table : tables_) table.dirty = false;
  co_return std::span(tables_);
}

Task<Result<void>> L2Stream::write_dirty() { return transfer_rows(true); }

// Neighbours that are marked together, all rows at once.
Task<Result<void>> L2Stream::transfer_rows(bool is_write) {
  std::vector<Task<Result<void>>> transfers;
  const size_t max_row = std::max<uint64_t>(kTransferBytes >> geometry_.cluster_bits, 1);
  for (size_t first = 0; first < tables_.size();) {
    size_t end = first;
    while (end < tables_.size() && tables_[end].dirty && end - first < max_row &&
           tables_[end].host_offset ==
               tables_[first].host_offset + geometry_.offset_of(end - first))
      ++end;
    if (end != first)
      transfers.push_back(transfer(std::span(tables_).subspan(first, end - first), is_write));
    first = std::max(end, first + 1);
  }
  co_return co_await run_all(std::move(transfers));
}

}  // namespace hull::blockcore::qcow2
