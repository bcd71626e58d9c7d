// A File over another one that fails on demand and remembers what was written, for error-path and
// crash tests.
//
//   FaultPlan plan;                              // outlives the files that share it
//   FaultyFile file(std::make_unique<MemoryFile>(image), plan);
//   plan.fail_at = 7; plan.error = ENOSPC;       // the 7th changing operation from now fails
//   … run the format over `file` …
//   for (size_t n = 0; n <= plan.log.size(); ++n) check(plan.replay(image, n));
//
// replay(image, n): the first n operations reached the disk. replay_reordered() also loses or keeps
// each one that no later flush (among the first n) covers, as a host's power failure may;
// replay_torn() also stores parts of writes.
#pragma once

#include <cerrno>
#include <memory>
#include <random>
#include <vector>

#include "tests/support/memory_file.h"

namespace hull::testing {

struct FaultPlan {
  enum class Kind : uint8_t { kWrite, kZeroes, kDiscard, kAllocate, kExtend, kCut, kFlush };
  struct Entry {
    Kind kind;
    uint64_t offset = 0;  // kExtend, kCut: the new size
    uint64_t length = 0;
    std::vector<uint8_t> data = {};
    unsigned file = 0;
  };

  // Counted down by every changing operation (writes, zeroes, discards, allocations, sizes,
  // flushes); the one that reaches zero fails. 0: never. With `sticky` all later ones fail too.
  unsigned fail_at = 0;
  unsigned fail_read_at = 0;  // the same for reads
  int error = EIO;
  bool sticky = false;
  // A failing write stores this part of its data first, as a torn write.
  size_t torn_bytes = 0;
  // One file's host has no room past that, and says so when something is written there (a
  // full file system), or beforehand (a block device). 0: room enough.
  uint64_t room_bytes = 0;
  bool room_is_known = false;
  unsigned room_file = 0;
  // Counted down each time that somebody asks how far the first file can grow, as each allocation
  // of a cluster does; from zero on the answer is no further than 0. 0: never.
  unsigned full_at = 0;
  bool full = false;
  unsigned changes = 0;  // changing operations so far
  unsigned reads = 0;
  std::vector<Entry> log;  // those that succeeded, in order

  bool fails_now() { return failing_ || reaches_zero(fail_at); }
  bool read_fails_now() { return reaches_zero(fail_read_at); }

  // `file`: which of those that share the plan.
  std::vector<uint8_t> replay(std::vector<uint8_t> image, size_t count, unsigned file = 0) const {
    for (size_t i = 0; i < count; ++i)
      if (log[i].file == file) apply(image, log[i]);
    return image;
  }
  // `keep(i)` decides for each operation that is not covered by a flush whether it was stored.
  template <class Keep>
  std::vector<uint8_t> replay_reordered(std::vector<uint8_t> image, size_t count, Keep keep,
                                        unsigned file = 0) const {
    size_t durable = 0;
    for (size_t i = 0; i < count; ++i)
      if (log[i].file == file && log[i].kind == Kind::kFlush) durable = i;
    for (size_t i = 0; i < count; ++i)
      if (log[i].file == file && (i < durable || keep(i))) apply(image, log[i]);
    return image;
  }
  // As replay_reordered(); some writes are torn, too: each of their sectors is old or new.
  std::vector<uint8_t> replay_torn(std::vector<uint8_t> image, size_t count, std::mt19937& random,
                                   unsigned file = 0) const {
    size_t durable = 0;
    for (size_t i = 0; i < count; ++i)
      if (log[i].file == file && log[i].kind == Kind::kFlush) durable = i;
    for (size_t i = 0; i < count; ++i) {
      const Entry& entry = log[i];
      if (entry.file != file || (i >= durable && random() % 3 == 0)) continue;
      if (i < durable || entry.kind != Kind::kWrite || random() % 2 == 0)
        apply(image, entry);
      else
        apply_torn(image, entry, random);
    }
    return image;
  }

 private:
  static void apply_torn(std::vector<uint8_t>& image, const Entry& entry, std::mt19937& random) {
    const uint64_t end = entry.offset + entry.length;
    for (uint64_t at = entry.offset; at < end;) {
      const uint64_t next = std::min(end, (at / 512 + 1) * 512);
      if (random() % 2 == 0) {
        if (image.size() < next) image.resize(next);
        std::copy_n(entry.data.begin() + static_cast<ptrdiff_t>(at - entry.offset), next - at,
                    image.begin() + static_cast<ptrdiff_t>(at));
      }
      at = next;
    }
  }
  bool reaches_zero(unsigned& counter) {
    if (counter == 0 || --counter != 0) return false;
    failing_ = sticky;
    return true;
  }
  static void apply(std::vector<uint8_t>& image, const Entry& entry) {
    const uint64_t end = entry.offset + entry.length;
    if (entry.kind == Kind::kExtend) image.resize(std::max(image.size(), entry.offset));
    if (entry.kind == Kind::kCut) image.resize(std::min(image.size(), entry.offset));
    if (entry.kind == Kind::kExtend || entry.kind == Kind::kCut) return;
    if (entry.kind == Kind::kFlush) return;
    if (entry.kind != Kind::kDiscard && image.size() < end) image.resize(end);
    const auto first = image.begin() + static_cast<ptrdiff_t>(entry.offset);
    if (entry.kind == Kind::kWrite) std::copy(entry.data.begin(), entry.data.end(), first);
    if (entry.kind == Kind::kZeroes) std::fill_n(first, entry.length, uint8_t{0});
    if (entry.kind == Kind::kDiscard && entry.offset < image.size())
      std::fill(first, image.begin() + static_cast<ptrdiff_t>(std::min(end, image.size())),
                uint8_t{0});
  }
  bool failing_ = false;
};

class FaultyFile : public blockcore::File {
 public:
  FaultyFile(std::unique_ptr<blockcore::File> inner, FaultPlan& plan, unsigned file = 0)
      : inner_(std::move(inner)), plan_(plan), file_(file) {}

  const std::string& path() const override { return inner_->path(); }
  bool read_only() const override { return inner_->read_only(); }
  uint64_t size_bytes() const override { return inner_->size_bytes(); }
  bool is_block_device() const override { return inner_->is_block_device(); }
  bool unwritten_reads_as_zeros() const override { return inner_->unwritten_reads_as_zeros(); }
  uint32_t alignment_bytes() const override { return inner_->alignment_bytes(); }
  uint64_t max_size_bytes() const override {
    if (file_ == 0 && plan_.full_at != 0 && --plan_.full_at == 0) plan_.full = true;
    if (file_ == 0 && plan_.full) return 0;
    return has_room_limit() && plan_.room_is_known ? plan_.room_bytes : File::max_size_bytes();
  }

  blockcore::Task<Result<void>> write(uint64_t offset, std::span<const iovec> buffers) override {
    FaultPlan::Entry entry{.kind = FaultPlan::Kind::kWrite, .offset = offset, .file = file_};
    for (const iovec& buffer : buffers) {
      const auto* const memory = static_cast<const uint8_t*>(buffer.iov_base);
      entry.data.insert(entry.data.end(), memory, memory + buffer.iov_len);
    }
    entry.length = entry.data.size();
    if (no_room_for(offset, entry.length)) co_return full("write");
    if (change_fails()) {
      co_await tear(std::move(entry));
      co_return injected("write");
    }
    CO_TRY_VOID(co_await inner_->write(offset, buffers));
    plan_.log.push_back(std::move(entry));
    co_return {};
  }
  blockcore::Task<Result<void>> flush() override {
    // Only what was complete when the flush began is covered.
    const size_t covered = plan_.log.size();
    if (change_fails()) co_return injected("flush");
    CO_TRY_VOID(co_await inner_->flush());
    plan_.log.insert(plan_.log.begin() + static_cast<ptrdiff_t>(covered),
                     FaultPlan::Entry{.kind = FaultPlan::Kind::kFlush, .file = file_});
    co_return {};
  }
  blockcore::Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length,
                                             bool may_unmap) override {
    if (no_room_for(offset, length)) co_return full("write_zeroes");
    if (change_fails()) co_return injected("write_zeroes");
    CO_TRY_VOID(co_await inner_->write_zeroes(offset, length, may_unmap));
    record(FaultPlan::Kind::kZeroes, offset, length);
    co_return {};
  }
  blockcore::Task<Result<void>> discard(uint64_t offset, uint64_t length) override {
    if (change_fails()) co_return injected("discard");
    CO_TRY_VOID(co_await inner_->discard(offset, length));
    record(FaultPlan::Kind::kDiscard, offset, length);
    co_return {};
  }
  blockcore::Task<Result<void>> allocate(uint64_t offset, uint64_t length) override {
    if (no_room_for(offset, length)) co_return full("allocate");
    if (change_fails()) co_return injected("allocate");
    CO_TRY_VOID(co_await inner_->allocate(offset, length));
    record(FaultPlan::Kind::kAllocate, offset, length);
    co_return {};
  }
  // What changes nothing is no operation: nothing is recorded, and nothing can fail.
  Result<void> extend_to(uint64_t size) override {
    if (size <= inner_->size_bytes()) return {};
    if (change_fails()) return injected("extend");
    TRY(inner_->extend_to(size));
    record(FaultPlan::Kind::kExtend, size, 0);
    return {};
  }
  Result<void> cut_to(uint64_t size) override {
    if (size >= inner_->size_bytes()) return {};
    if (change_fails()) return injected("cut");
    TRY(inner_->cut_to(size));
    record(FaultPlan::Kind::kCut, size, 0);
    return {};
  }

  Result<blockcore::FileRange> range_at(uint64_t offset) const override {
    return inner_->range_at(offset);
  }

 protected:
  blockcore::Task<Result<void>> transfer_in(uint64_t offset, std::span<const iovec> buffers,
                                            AtEnd at_end) override {
    ++plan_.reads;
    if (plan_.read_fails_now()) co_return injected("read");
    if (at_end == AtEnd::kFail) co_return co_await inner_->read(offset, buffers);
    co_return co_await inner_->read_or_zero(offset, buffers);
  }

 private:
  bool has_room_limit() const { return file_ == plan_.room_file && plan_.room_bytes != 0; }
  bool no_room_for(uint64_t offset, uint64_t length) const {
    return has_room_limit() && offset + length > plan_.room_bytes;
  }
  bool change_fails() {
    ++plan_.changes;
    return plan_.fails_now();
  }
  void record(FaultPlan::Kind kind, uint64_t offset, uint64_t length) {
    plan_.log.push_back({.kind = kind, .offset = offset, .length = length, .file = file_});
  }
  blockcore::Task<void> tear(FaultPlan::Entry entry) {
    entry.data.resize(std::min(plan_.torn_bytes, entry.data.size()));
    entry.length = entry.data.size();
    if (entry.data.empty()) co_return;
    const iovec part{entry.data.data(), entry.data.size()};
    const auto stored = co_await inner_->write(entry.offset, {&part, 1});
    if (stored) plan_.log.push_back(std::move(entry));
  }
  std::unexpected<Error> full(std::string_view what) const {
    return std::unexpected(Error::from_errno(fmt::format("{}: {}", inner_->path(), what), ENOSPC));
  }
  std::unexpected<Error> injected(std::string_view what) const {
    return std::unexpected(
        Error::from_errno(fmt::format("{}: {}", inner_->path(), what), plan_.error));
  }

  std::unique_ptr<blockcore::File> inner_;
  FaultPlan& plan_;
  const unsigned file_;
};

}  // namespace hull::testing
