// A File whose operations complete when the test says so, in any order: several operations of a
// disk interleave without an engine.
//
//   ShuffleQueue queue;
//   … start_detached() operations over ShuffledFile(inner, queue) …
//   while (!queue.empty()) queue.resume(random() % queue.size());
#pragma once

#include <coroutine>
#include <functional>
#include <memory>
#include <vector>

#include "blockcore/file/file.h"

namespace hull::testing {

class ShuffleQueue {
 public:
  // Asked for more when nobody waits: runs an engine, say, as long as it has something in flight.
  void set_source(std::function<void()> source) { source_ = std::move(source); }
  bool empty() {
    if (waiting_.empty() && source_) source_();
    return waiting_.empty();
  }
  size_t size() const { return waiting_.size(); }
  void resume(size_t index) {
    const std::coroutine_handle<> one = waiting_[index];
    waiting_.erase(waiting_.begin() + static_cast<ptrdiff_t>(index));
    one.resume();
  }
  auto wait() {
    struct Awaiter {
      std::vector<std::coroutine_handle<>>& waiting;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> awaiting) { waiting.push_back(awaiting); }
      void await_resume() const noexcept {}
    };
    return Awaiter{waiting_};
  }

 private:
  std::vector<std::coroutine_handle<>> waiting_;
  std::function<void()> source_;
};

class ShuffledFile : public blockcore::File {
 public:
  ShuffledFile(std::unique_ptr<blockcore::File> inner, ShuffleQueue& queue)
      : inner_(std::move(inner)), queue_(queue) {}

  const std::string& path() const override { return inner_->path(); }
  bool read_only() const override { return inner_->read_only(); }
  uint64_t size_bytes() const override { return inner_->size_bytes(); }
  bool is_block_device() const override { return inner_->is_block_device(); }
  uint64_t max_size_bytes() const override { return inner_->max_size_bytes(); }
  bool unwritten_reads_as_zeros() const override { return inner_->unwritten_reads_as_zeros(); }
  uint32_t alignment_bytes() const override { return inner_->alignment_bytes(); }

  // The transfer happens before or after the wait, as the queue's length has it: a test with
  // several in flight sees both.
  blockcore::Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override {
    const bool late = queue_.size() % 2 == 0;
    if (late) co_await queue_.wait();
    auto result = co_await inner_->write(offset, buffers);
    if (!late) co_await queue_.wait();
    co_return std::move(result);
  }
  blockcore::Task<Result<void>> flush() override {
    co_await queue_.wait();
    co_return co_await inner_->flush();
  }
  blockcore::Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length,
                                             bool may_unmap) override {
    co_await queue_.wait();
    co_return co_await inner_->write_zeroes(offset, length, may_unmap);
  }
  blockcore::Task<Result<void>> discard(uint64_t offset, uint64_t length) override {
    co_await queue_.wait();
    co_return co_await inner_->discard(offset, length);
  }
  blockcore::Task<Result<void>> allocate(uint64_t offset, uint64_t length) override {
    co_await queue_.wait();
    co_return co_await inner_->allocate(offset, length);
  }
  Result<void> extend_to(uint64_t size) override { return inner_->extend_to(size); }
  Result<void> cut_to(uint64_t size) override { return inner_->cut_to(size); }

  Result<blockcore::FileRange> range_at(uint64_t offset) const override {
    return inner_->range_at(offset);
  }

 protected:
  blockcore::Task<Result<void>> transfer_in(uint64_t offset, std::span<const iovec> buffers,
                                            AtEnd at_end) override {
    const bool late = queue_.size() % 2 == 0;
    if (late) co_await queue_.wait();
    // Not one co_await in each arm of a conditional: g++ 12 destroys the chosen result twice.
    auto reading = at_end == AtEnd::kFail ? inner_->read(offset, buffers)
                                          : inner_->read_or_zero(offset, buffers);
    auto result = co_await std::move(reading);
    if (!late) co_await queue_.wait();
    co_return std::move(result);
  }

 private:
  std::unique_ptr<blockcore::File> inner_;
  ShuffleQueue& queue_;
};

}  // namespace hull::testing
