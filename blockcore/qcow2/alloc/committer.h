// Brings changed metadata to the file in the one order that is safe at every moment (soft updates):
//
//   1. refcount blocks, then the refcount table that refers to new ones
//   2. flush: refcounts, guest data and the file's length are durable. Not if no refcount and no
//      length has changed and the data went to fresh clusters of guest clusters that were zeros: an
//      entry that is early points at zeros.
//   3. L2 tables, flush, then the L1 table that refers to new ones
//   4. flush: the mapping is durable
//   5. clusters that the mapping no longer refers to are given back, then counted as free
//
// A crash in between leaves clusters that are counted and not used, never the reverse.
#pragma once

#include <cstdint>
#include <vector>

#include "blockcore/qcow2/data/reader.h"
#include "blockcore/qcow2/image.h"

namespace hull::blockcore::qcow2 {

class Committer {
 public:
  Committer(Image& image, Reader& reader) : image_(image), reader_(reader) {}

  // Everything that was completed before is durable. Calls that come while one runs share the next.
  Task<Result<void>> commit();
  // The same for counts of freed clusters, which commit() leaves in memory.
  Task<Result<void>> commit_all();
  // So much has changed that the next change should commit first.
  bool is_due() const;

 private:
  struct Changes;
  Task<Result<void>> commit_locked();
  Task<Result<void>> check_places(const Changes& changes);
  Task<Result<void>> write(Changes& changes);
  Task<Result<void>> write_refcounts(Changes& changes);
  Task<Result<void>> free_unlinked(std::vector<HostRun> unlinked);

  Image& image_;
  Reader& reader_;
  uint64_t started_ = 0;  // commits so far
  Result<void> last_;     // what the last one gave
};

}  // namespace hull::blockcore::qcow2
