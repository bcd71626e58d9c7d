// A bounded cache of slices of metadata tables (L2 tables, refcount blocks) in their on-disk form.
//
// A slice is up to 4 KiB; memory is allocated as it is used. Slices that were changed stay until
// they are written (commit.h); the rest is replaced by the clock algorithm. The capacity is
// exceeded when everything is dirty: whoever changes slices asks wants_commit() before it starts. A
// Slice* is valid until the next co_await.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/endian.h"
#include "blockcore/async/wait_list.h"
#include "blockcore/file/file.h"

namespace hull::blockcore::qcow2 {

class Slice {
 public:
  std::byte* bytes() { return bytes_.get(); }
  const std::byte* bytes() const { return bytes_.get(); }
  uint64_t load_entry(uint64_t index) const {
    Be64 entry;
    std::memcpy(&entry, bytes_.get() + index * sizeof entry, sizeof entry);
    return entry;
  }
  void store_entry(uint64_t index, uint64_t value) {
    const Be64 entry = value;
    std::memcpy(bytes_.get() + index * sizeof entry, &entry, sizeof entry);
  }

 private:
  friend class SliceCache;
  uint64_t key_ = 0;
  std::unique_ptr<std::byte[]> bytes_;
  bool loaded_ = false;
  bool dirty_ = false;    // differs from the file; in the list of dirty slices
  bool writing_ = false;  // a commit is writing a copy
  bool recent_ = false;   // used since the clock's hand passed
  WaitList loading_;
};

class SliceCache {
 public:
  SliceCache(File& file, InUse& in_use, uint32_t slice_bytes, uint64_t capacity_bytes);

  // nullptr if it is not there.
  Slice* find(uint64_t key);
  // Reads slice `key` from `host_offset`; on success look for it again with find(). Bytes past the
  // end of the file are zeros.
  Task<Result<void>> load(uint64_t key, uint64_t host_offset);
  // A new slice, not dirty, that must not be there.
  Slice& insert_zeros(uint64_t key);
  void mark_dirty(Slice& slice);
  // Forgets everything; nothing may be dirty, or being read or written.
  void clear();

  bool dirty() const { return !dirty_.empty(); }
  bool wants_commit() const { return dirty_.size() * 2 > capacity_; }

  // For a commit: copies of all dirty slices, which count as clean from now on but stay where they
  // are until finish_writing(). After a failure they are dirty again.
  struct Copy {
    Slice* slice;
    uint64_t key;
    uint64_t host_offset;    // set by whoever knows
    const std::byte* bytes;  // in the Copies
  };
  struct Copies {
    std::vector<Copy> slices;
    std::unique_ptr<std::byte[]> memory;
  };
  Copies copy_dirty();
  void finish_writing(const Copies& copies, bool failed);
  uint32_t slice_bytes() const { return slice_bytes_; }

 private:
  Slice& new_slice(uint64_t key);
  Slice* evict();

  File& file_;
  InUse& in_use_;
  const uint32_t slice_bytes_;
  const size_t capacity_;  // slices
  size_t hand_ = 0;
  std::vector<std::unique_ptr<Slice>> slices_;
  std::vector<Slice*> unused_;  // after a failed load
  std::unordered_map<uint64_t, Slice*> by_key_;
  std::vector<Slice*> dirty_;
};

}  // namespace hull::blockcore::qcow2
