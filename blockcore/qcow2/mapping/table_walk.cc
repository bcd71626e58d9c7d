#include "blockcore/qcow2/mapping/table_walk.h"

#include <algorithm>
#include <vector>

#include "blockcore/async/wait_list.h"

namespace hull::blockcore::qcow2 {
namespace {

constexpr size_t kReaders = 6;
constexpr uint64_t kWalkBytes = 256 << 10;  // fits into a processor's cache

class TableWalk {
 public:
  TableWalk(File& file, std::span<const uint64_t> offsets, uint64_t table_bytes,
            TableVisitor& visitor)
      : file_(file), offsets_(offsets), table_bytes_(table_bytes), visitor_(visitor) {}

  Task<Result<void>> run() {
    readers_ = kReaders;
    for (size_t i = 0; i < kReaders; ++i) start_detached(read_batches());
    while (readers_ != 0) co_await finished_.wait();
    co_return std::move(result_);
  }

 private:
  // Tables that follow each other in the list and in the file.
  struct Batch {
    size_t number;
    size_t first;
    size_t count;
  };

  Batch take_batch() {
    const size_t most = std::max<uint64_t>(kWalkBytes / table_bytes_, 1);
    Batch batch{.number = batches_++, .first = next_, .count = 1};
    while (batch.count < most && batch.first + batch.count < offsets_.size() &&
           offsets_[batch.first + batch.count] ==
               offsets_[batch.first] + batch.count * table_bytes_)
      ++batch.count;
    next_ += batch.count;
    return batch;
  }

  Task<void> read_batches() {
    std::vector<std::byte> buffer;
    while (result_ && next_ < offsets_.size()) {
      const Batch batch = take_batch();
      buffer.resize(batch.count * table_bytes_);
      const iovec memory{buffer.data(), buffer.size()};
      auto done = co_await file_.read_or_zero(offsets_[batch.first], {&memory, 1});
      while (turn_ != batch.number) co_await turns_.wait();
      if (done && result_) done = co_await deliver(batch, buffer);
      if (!done && result_) result_ = std::move(done);
      ++turn_;
      turns_.wake_all();
    }
    if (--readers_ == 0) finished_.wake_all();
  }

  Task<Result<void>> deliver(Batch batch, std::span<std::byte> tables) {
    for (size_t i = 0; i < batch.count; ++i) {
      const std::span<std::byte> table = tables.subspan(i * table_bytes_, table_bytes_);
      if (visitor_.visit(batch.first + i, table))
        CO_TRY_VOID(co_await write_exactly(file_, offsets_[batch.first + i], table));
    }
    co_return {};
  }

  File& file_;
  const std::span<const uint64_t> offsets_;
  const uint64_t table_bytes_;
  TableVisitor& visitor_;
  size_t next_ = 0;     // in offsets_
  size_t batches_ = 0;  // handed out
  size_t turn_ = 0;     // the batch that may be visited
  size_t readers_ = 0;
  Result<void> result_;
  WaitList turns_;
  WaitList finished_;
};

}  // namespace

Task<Result<void>> visit_tables(File& file, std::span<const uint64_t> offsets, uint64_t table_bytes,
                                TableVisitor& visitor) {
  TableWalk walk(file, offsets, table_bytes, visitor);
  co_return co_await walk.run();
}

}  // namespace hull::blockcore::qcow2
