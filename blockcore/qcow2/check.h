// Is a qcow2 image consistent? Refcounts against references, COPIED flags, places outside the file.
#pragma once

#include <cstdint>

#include "blockcore/file.h"
#include "blockcore/qcow2/image_header.h"
#include "blockcore/qcow2/references.h"

namespace hull::blockcore::qcow2 {

struct CheckResult {
  Findings findings;
  uint64_t leaks = 0;  // clusters that are counted more often than they are used
  uint64_t image_end_offset = 0;
  uint64_t total_clusters = 0;  // of the guest's disk
};

// Reads only. Needs 4 bytes of memory per cluster of the file.
Task<Result<CheckResult>> check_image(File& file, const Header& header);

// Writes new refcounts that count what count_references() finds, at the end of the file, and clears
// the dirty bit with the same write that makes the header point at them; then corrects COPIED
// flags. A crash leaves the image as it was, or repaired. kCorrupt if something refers to places
// outside the file.
Task<Result<void>> rebuild_refcounts(File& file, ImageHeader& header);

}  // namespace hull::blockcore::qcow2
