// A Disk in memory that can fail, and can hold its operations until the test lets them go.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "base/checked.h"
#include "base/mutex.h"
#include "blockcore/disk.h"
#include "blockcore/engine/io_engine.h"

namespace hull::testing {

// Used on the engine's thread; `held`, `error` and the counters are set and read by the test while
// that thread has nothing to do.
class MemoryDisk : public blockcore::Disk {
 public:
  explicit MemoryDisk(uint64_t size) : bytes(size) {}

  uint64_t size_bytes() const override { return bytes.size(); }
  bool read_only() const override { return is_read_only; }
  uint32_t alignment_bytes() const override { return 1; }
  bool can_discard() const override { return true; }
  uint32_t discard_granularity_bytes() const override { return 4096; }

  blockcore::Task<Result<void>> read(uint64_t offset, std::span<const iovec> buffers) override {
    ++reads;
    CO_TRY_VOID(co_await begin());
    for (const iovec& buffer : buffers) {
      CHECK(range_fits<uint64_t>(offset, buffer.iov_len, bytes.size()));
      std::memcpy(buffer.iov_base, bytes.data() + offset, buffer.iov_len);
      offset += buffer.iov_len;
    }
    co_return {};
  }
  blockcore::Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override {
    ++writes;
    CHECK(!is_read_only);
    CO_TRY_VOID(co_await begin());
    for (const iovec& buffer : buffers) {
      CHECK(range_fits<uint64_t>(offset, buffer.iov_len, bytes.size()));
      std::memcpy(bytes.data() + offset, buffer.iov_base, buffer.iov_len);
      offset += buffer.iov_len;
    }
    co_return {};
  }
  blockcore::Task<Result<void>> flush() override {
    ++flushes;
    co_return co_await begin();
  }
  blockcore::Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length,
                                             bool may_unmap) override {
    ++zeroes;
    zeroed_bytes += length;
    unmapped = may_unmap;
    co_return co_await clear(offset, length);
  }
  blockcore::Task<Result<void>> discard(uint64_t offset, uint64_t length) override {
    ++discards;
    co_return co_await clear(offset, length);
  }
  blockcore::Task<Result<blockcore::BlockStatus>> block_status(uint64_t offset,
                                                               uint64_t length) override {
    CHECK(range_fits<uint64_t>(offset, length, bytes.size()));
    co_return blockcore::BlockStatus{.length = length, .data = true, .present = true};
  }
  blockcore::Task<Result<void>> close() override { co_return {}; }

  // On the engine's thread: resumes what waits.
  void release() {
    is_held = false;
    std::vector<std::coroutine_handle<>> handles;
    handles.swap(waiting_);
    for (const auto handle : handles) handle.resume();
  }

  size_t held_operations() const { return waiting_.size(); }

  std::vector<uint8_t> bytes;
  bool is_read_only = false;
  bool is_held = false;
  int error = 0;  // errno of every operation; 0: they succeed
  unsigned reads = 0;
  unsigned writes = 0;
  unsigned flushes = 0;
  unsigned zeroes = 0;
  unsigned discards = 0;
  uint64_t zeroed_bytes = 0;
  bool unmapped = false;

 private:
  struct Hold {
    MemoryDisk& disk;
    bool await_ready() const noexcept { return !disk.is_held; }
    void await_suspend(std::coroutine_handle<> handle) { disk.waiting_.push_back(handle); }
    void await_resume() const noexcept {}
  };
  blockcore::Task<Result<void>> begin() {
    Hold hold{*this};
    co_await hold;
    if (error != 0) co_return std::unexpected(Error::from_errno("memory disk", error));
    co_return {};
  }
  blockcore::Task<Result<void>> clear(uint64_t offset, uint64_t length) {
    CHECK(range_fits<uint64_t>(offset, length, size_bytes()) && !is_read_only);
    CO_TRY_VOID(co_await begin());
    std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(offset), length, uint8_t{0});
    co_return {};
  }
  std::vector<std::coroutine_handle<>> waiting_;
};

}  // namespace hull::testing
