// Random operations on a disk, several in flight, held against a flat model of its contents.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <random>
#include <string>
#include <vector>

#include "blockcore/disk.h"
#include "blockcore/qcow2/qcow2_disk.h"
#include "tests/support/shuffled_file.h"

namespace hull::testing {

class DiskTrace {
 public:
  // `model` is what the disk reads as now; the trace keeps it up to date.
  DiskTrace(blockcore::Disk& disk, std::vector<uint8_t>& model, ShuffleQueue& queue,
            std::mt19937& random)
      : disk_(disk), model_(model), queue_(queue), random_(random) {}

  // Starts `count` operations with at most `depth` in flight, of which no two overlap, and waits
  // for them all. Returns what went wrong: a read that gave other bytes, an operation that failed
  // and was not expected to.
  // `midway` is called once, when half of them have begun: it may start something that goes on by
  // itself beside them.
  std::string run(unsigned count, unsigned depth, const std::function<void()>& midway = {});
  // The whole disk equals the model.
  std::string verify();

  // Into `copy`, which outlives the trace: what the disk will read as when the operations that are
  // in flight now have ended, and no later one has begun.
  void copy_at_cut(std::vector<uint8_t>& copy);

  // One byte for each of the disk: not zero if a change began there since the last call.
  std::vector<uint8_t> take_touched();

  // Operations may fail, as with an injected fault; what a failed one covered is then unknown and
  // the model takes what the disk gives. Number of failures so far.
  void allow_failures() { failures_allowed_ = true; }
  unsigned failures() const { return failures_; }
  // One in so many writes goes to a compressed cluster of this, which is the disk.
  void allow_compressed(blockcore::Qcow2Disk& disk, unsigned one_in = 5) {
    compressing_ = &disk;
    compressed_one_in_ = one_in;
  }
  // All that changes something is small and lies in these bytes of the disk, side by side.
  void crowd(uint64_t offset, uint64_t length) {
    crowd_offset_ = offset;
    crowd_bytes_ = length;
  }

 private:
  enum class Kind : uint8_t { kRead, kWrite, kZero, kZeroUnmap, kDiscard, kFlush, kCompressed };
  struct Operation {
    Kind kind;
    uint64_t offset = 0;
    uint64_t length = 0;
    std::vector<uint8_t> data = {};
    std::vector<uint8_t>* copy = nullptr;  // gets what the operation has changed as well
  };

  Operation pick();
  void place(Operation& operation);
  void fill(Operation& operation);
  blockcore::Task<Result<void>> write_compressed(Operation& operation);
  bool overlaps(uint64_t offset, uint64_t length) const;
  blockcore::Task<void> perform(std::list<Operation>::iterator operation);
  blockcore::Task<Result<void>> start(Operation& operation, const iovec& buffer);
  blockcore::Task<void> finish(Operation& operation, Result<void> result);
  blockcore::Task<Result<void>> learn(uint64_t offset, uint64_t length);
  uint64_t below(uint64_t limit) { return limit == 0 ? 0 : random_() % limit; }

  blockcore::Disk& disk_;
  std::vector<uint8_t>& model_;
  ShuffleQueue& queue_;
  std::mt19937& random_;
  std::list<Operation> in_flight_;
  std::vector<uint8_t> touched_;
  std::string trouble_;
  blockcore::Qcow2Disk* compressing_ = nullptr;
  unsigned compressed_one_in_ = 5;
  uint64_t crowd_offset_ = 0;
  uint64_t crowd_bytes_ = 0;  // 0: everywhere
  bool failures_allowed_ = false;
  unsigned failures_ = 0;
};

}  // namespace hull::testing
