// Keeps the enabled persistent bitmaps of an open image true while a guest writes to it:
// docs/interop/qcow2, "Bitmaps", flags in_use and auto.
//
// They are marked in use, durably, before the first change and stored when the disk is closed.
// After a crash they stay marked, which tells everybody that they say nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "blockcore/qcow2/edit/bitmap_store.h"

namespace hull::blockcore::qcow2 {

class BitmapTracker {
 public:
  explicit BitmapTracker(Parts& parts) : parts_(parts) {}

  // Before the first change of the disk, while nothing else changes it. Also clears the autoclear
  // bits of what hull does not keep, except those in `kept`. Bitmaps that cannot be read are given
  // up with a warning.
  Task<Result<void>> start(uint64_t kept_autoclear);
  // The guest is about to change this range.
  void mark(uint64_t offset, uint64_t length) {
    for (Tracked& one : tracked_) set_bits(one.bits, one.granularity_bits, offset, length);
  }
  // After the last change, when everything else is in the file.
  Task<Result<void>> stop();

 private:
  struct Tracked {
    std::string name;
    uint32_t granularity_bits;
    BitmapBits bits;
  };
  Task<Result<bool>> begin_tracking();

  Parts& parts_;
  std::vector<Tracked> tracked_;
};

}  // namespace hull::blockcore::qcow2
