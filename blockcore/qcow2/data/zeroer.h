// write_zeroes and discard: whole clusters and subclusters by their L2 entries, the rest by writing
// zeros.
#pragma once

#include <cstdint>

#include "blockcore/qcow2/alloc/committer.h"
#include "blockcore/qcow2/data/writer.h"
#include "blockcore/qcow2/image.h"

namespace hull::blockcore::qcow2 {

class Zeroer {
 public:
  Zeroer(Image& image, Writer& writer, Committer& committer)
      : image_(image), writer_(writer), committer_(committer) {}

  // As Disk has them. Freed clusters go back to the host with the next commit.
  Task<Result<void>> write_zeroes(uint64_t offset, uint64_t length, bool may_unmap);
  Task<Result<void>> discard(uint64_t offset, uint64_t length);

 private:
  // What happens to whole clusters, or whole subclusters (granules).
  enum class Action : uint8_t {
    kZero,          // reads as zeros, keeps host clusters that are its own
    kZeroAndUnmap,  // reads as zeros
    kDiscard,       // reads as zeros or as before
  };
  Task<Result<uint64_t>> change_clusters(uint64_t offset, uint64_t length, Action action);
  Task<Result<void>> discard_external(uint64_t offset, uint64_t end);
  Task<Result<void>> write_zero_bytes(uint64_t offset, uint64_t length);
  bool needs_change(const Extent& extent, uint64_t offset, Action action) const;
  bool can_change(Action action) const;
  uint64_t whole_end(uint64_t end) const;
  bool is_whole_cluster(uint64_t offset, uint64_t end) const;
  uint32_t subclusters_in(uint64_t cluster, uint64_t begin, uint64_t end) const;
  L2Entry changed(L2Entry entry, uint32_t subclusters, Action action) const;
  L2Entry changed_cluster(L2Entry entry, Action action) const;

  Image& image_;
  Writer& writer_;
  Committer& committer_;
};

}  // namespace hull::blockcore::qcow2
