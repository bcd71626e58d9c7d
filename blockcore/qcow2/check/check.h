// Is a qcow2 image consistent, and what can be put right? Refcounts against references, COPIED
// flags, entries that contradict the format, places outside the file. docs/interop/qcow2.
#pragma once

#include <cstdint>

#include "blockcore/file/file.h"
#include "blockcore/qcow2/check/references.h"
#include "blockcore/qcow2/format/image_header.h"

namespace hull::blockcore::qcow2 {

enum class Repair : uint8_t {
  kNone,
  kLeaks,  // lowers refcounts that are too high; COPIED flags too, if that leaves nothing wrong
  kAll,
};

struct CheckResult {
  Findings findings;
  uint64_t leaks = 0;  // clusters that are counted more often than they are used, and remain so
  uint64_t leaks_fixed = 0;
  // Only Repair::kAll can help; the repair of leaks that was asked for has changed nothing.
  bool needs_rebuild = false;
  uint64_t image_end_offset = 0;
  uint64_t total_clusters = 0;  // of the guest's disk
};

// Reads only. Needs a byte of memory for a cluster in use (four where many
// snapshots share it), rounded up to rows of 256, and a few MiB; kOutOfRange beyond 4 GiB.
Task<Result<CheckResult>> check_image(File& file, const Header& header);

// What check_image() does, and repairs what `repair` allows; nobody may use the image meanwhile.
// Refcounts are corrected in their place, or written anew at the end of the file (in free
// clusters of a block device) where they cannot be trusted. A snapshot table that says less than
// version 3 demands is written anew. When no error remains, the dirty and the corrupt bit are
// cleared. A crash leaves the image no worse than it was.
Task<Result<CheckResult>> repair_image(File& file, ImageHeader& header, Repair repair);

// Before the first write to an image with the dirty bit: new refcounts and COPIED flags, then the
// bit is cleared. kCorrupt, and nothing is changed, if that is not all that is wrong.
Task<Result<void>> rebuild_refcounts(File& file, ImageHeader& header);

}  // namespace hull::blockcore::qcow2
