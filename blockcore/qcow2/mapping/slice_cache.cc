#include "blockcore/qcow2/mapping/slice_cache.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace hull::blockcore::qcow2 {

SliceCache::SliceCache(File& file, InUse& in_use, uint32_t slice_bytes, uint64_t capacity_bytes)
    : file_(file),
      in_use_(in_use),
      slice_bytes_(slice_bytes),
      capacity_(std::max<uint64_t>(capacity_bytes / slice_bytes, 4)) {}

Slice* SliceCache::find(uint64_t key) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end() || !found->second->loaded_) return nullptr;
  found->second->recent_ = true;
  return found->second;
}

Task<Result<void>> SliceCache::load(uint64_t key, uint64_t host_offset) {
  if (const auto found = by_key_.find(key); found != by_key_.end()) {
    // Somebody reads it already; if that fails, the caller's find() fails and it reads for itself.
    if (!found->second->loaded_) co_await found->second->loading_.wait();
    co_return {};
  }
  Slice& slice = new_slice(key);
  const InUse::Hold hold(in_use_);
  const iovec buffer{slice.bytes(), slice_bytes_};
  auto result = co_await file_.read_or_zero(host_offset, {&buffer, 1});
  if (result) {
    slice.loaded_ = true;
    slice.recent_ = true;
  } else {
    by_key_.erase(key);
    unused_.push_back(&slice);
  }
  WaitList waiting = std::move(slice.loading_);
  slice.loading_ = {};
  waiting.wake_all();
  co_return std::move(result);
}

Slice& SliceCache::insert_zeros(uint64_t key) {
  CHECK(!by_key_.contains(key));
  Slice& slice = new_slice(key);
  std::memset(slice.bytes(), 0, slice_bytes_);
  slice.loaded_ = true;
  slice.recent_ = true;
  return slice;
}

void SliceCache::mark_dirty(Slice& slice) {
  if (slice.dirty_) return;
  slice.dirty_ = true;
  dirty_.push_back(&slice);
}

void SliceCache::clear() {
  CHECK(dirty_.empty());
  for (const auto& [key, slice] : by_key_) {
    CHECK(slice->loaded_ && !slice->writing_);
    slice->loaded_ = false;
    unused_.push_back(slice);
  }
  by_key_.clear();
}

SliceCache::Copies SliceCache::copy_dirty() {
  Copies copies;
  copies.memory = std::make_unique_for_overwrite<std::byte[]>(dirty_.size() * slice_bytes_);
  copies.slices.reserve(dirty_.size());
  std::byte* at = copies.memory.get();
  for (Slice* slice : dirty_) {
    slice->dirty_ = false;
    slice->writing_ = true;
    std::memcpy(at, slice->bytes(), slice_bytes_);
    copies.slices.push_back({slice, slice->key_, 0, at});
    at += slice_bytes_;
  }
  dirty_.clear();
  return copies;
}

void SliceCache::finish_writing(const Copies& copies, bool failed) {
  for (const Copy& copy : copies.slices) {
    copy.slice->writing_ = false;
    if (failed) mark_dirty(*copy.slice);
  }
}

Slice& SliceCache::new_slice(uint64_t key) {
  Slice* slice = nullptr;
  if (!unused_.empty()) {
    slice = unused_.back();
    unused_.pop_back();
  } else if (slices_.size() >= capacity_) {
    slice = evict();
  }
  if (slice == nullptr) {
    slice = slices_.emplace_back(std::make_unique<Slice>()).get();
    slice->bytes_ = std::make_unique_for_overwrite<std::byte[]>(slice_bytes_);
  }
  slice->key_ = key;
  slice->loaded_ = false;
  by_key_.emplace(key, slice);
  return *slice;
}

Slice* SliceCache::evict() {
  // Twice around: the first time may only clear the marks of recent use.
  for (size_t step = 0; step < 2 * slices_.size(); ++step) {
    Slice& slice = *slices_[hand_];
    hand_ = (hand_ + 1) % slices_.size();
    if (!slice.loaded_ || slice.dirty_ || slice.writing_) continue;
    if (std::exchange(slice.recent_, false)) continue;
    by_key_.erase(slice.key_);
    return &slice;
  }
  return nullptr;
}

}  // namespace hull::blockcore::qcow2
