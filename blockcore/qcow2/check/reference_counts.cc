#include "blockcore/qcow2/check/reference_counts.h"

#include <algorithm>

#include "base/checked.h"

namespace hull::blockcore::qcow2 {

Result<ReferenceCounts> ReferenceCounts::create(uint64_t clusters) {
  const uint64_t rows = std::max<uint64_t>(divide_up(clusters, kRowClusters), 1);
  auto mapping = TRY(Mapping::anonymous(rows * sizeof(uint32_t)));
  return ReferenceCounts(std::move(mapping), clusters);
}

// The number of the first; ~0: there are no more.
uint32_t ReferenceCounts::take_cells(uint32_t count) {
  if (count == 1 && !free_.empty()) {
    const uint32_t cell = free_.back();
    free_.pop_back();
    std::fill_n(cell_of((cell + 1) << 1, 0), kRowClusters, uint8_t{0});
    return cell;
  }
  if (used_cells_ % kBlockCells + count > kBlockCells)
    used_cells_ = static_cast<uint32_t>(align_up(used_cells_, kBlockCells));
  if (used_cells_ == blocks_.size() * kBlockCells) {
    if ((blocks_.size() + 1) * kBlockCells * kRowClusters > kMaxBytes) return ~uint32_t{0};
    blocks_.push_back(std::make_unique<uint8_t[]>(kBlockCells * kRowClusters));
  }
  return std::exchange(used_cells_, used_cells_ + count);
}

// False: there is no memory for it.
bool ReferenceCounts::begin_row(uint64_t cluster) {
  const uint32_t cell = take_cells(1);
  if (cell == ~uint32_t{0}) return exhausted_ = true, false;
  const uint32_t row = (cell + 1) << 1;
  rows()[cluster >> kRowBits] = row;
  const uint64_t first = cluster & ~(kRowClusters - 1);
  if (first < unknown_end_)
    std::fill_n(cell_of(row, 0), std::min(kRowClusters, unknown_end_ - first), uint8_t{1});
  return true;
}

bool ReferenceCounts::widen(uint32_t& row) {
  const uint32_t cells = take_cells(kWideCells);
  if (cells == ~uint32_t{0}) return exhausted_ = true, false;
  const uint32_t old = std::exchange(row, (cells + 1) << 1 | 1);
  std::copy_n(cell_of(old, 0), kRowClusters, wide(row));
  free_.push_back((old >> 1) - 1);
  return true;
}

void ReferenceCounts::set(uint64_t cluster, uint32_t count) {
  uint32_t& row = rows()[cluster >> kRowBits];
  if (row == 0) {
    if (count == (*this)[cluster] || !begin_row(cluster)) return;
  }
  if (!is_wide(row) && count > kMostInByte && !widen(row)) return;
  const uint64_t at = cluster & (kRowClusters - 1);
  if (is_wide(row))
    wide(row)[at] = count;
  else
    *cell_of(row, at) = static_cast<uint8_t>(count);
}

void ReferenceCounts::add(uint64_t cluster, uint32_t times) {
  const uint32_t count = (*this)[cluster];
  set(cluster, count > ~uint32_t{0} - times ? ~uint32_t{0} : count + times);
}

uint64_t ReferenceCounts::next_counted(uint64_t from, uint64_t end) const {
  end = std::min(end, clusters_);
  while (from < end) {
    const uint64_t row_end = std::min((from | (kRowClusters - 1)) + 1, end);
    const uint32_t row = rows()[from >> kRowBits];
    if (row == 0 && from < unknown_end_) return from;
    for (; row != 0 && from < row_end; ++from)
      if (at_row(row, from & (kRowClusters - 1)) != 0) return from;
    from = row_end;
  }
  return end;
}

uint64_t ReferenceCounts::end_of_counted() const {
  for (uint64_t end = clusters_; end != 0;) {
    const uint32_t row = rows()[(end - 1) >> kRowBits];
    const uint64_t row_first = (end - 1) & ~(kRowClusters - 1);
    if (row == 0 && row_first < unknown_end_) return std::min(end, unknown_end_);
    for (; row != 0 && end > row_first; --end)
      if (at_row(row, (end - 1) & (kRowClusters - 1)) != 0) return end;
    end = row_first;
  }
  return 0;
}

void ReferenceCounts::count_unknown(uint64_t end) {
  end = std::min(end, clusters_);
  for (uint64_t first = 0; first < end; first += kRowClusters) {
    const uint32_t row = rows()[first >> kRowBits];
    for (uint64_t i = first; row != 0 && i < std::min(first + kRowClusters, end); ++i)
      if ((*this)[i] == 0) set(i, 1);
  }
  unknown_end_ = std::max(unknown_end_, end);
}

}  // namespace hull::blockcore::qcow2
