// Internal snapshots of an open image: docs/interop/qcow2, "Snapshots". No operation of the disk
// may be in flight.
//
// Order of writes: what a snapshot refers to is counted before the header points at it, and counted
// down after the header does not any more. Version 3 images are marked dirty meanwhile, so that a
// crash in between costs a repair at the next opening and nothing else; in a version 2 image it
// leaves leaks and COPIED flags that are clear without need. Whatever is marked COPIED in the
// active mapping is the active mapping's alone, at every moment.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blockcore/qcow2/parts.h"
#include "blockcore/qcow2/snapshot_table.h"

namespace hull::blockcore::qcow2 {

// Of the active disk as it is. The id is one more than the largest; of `snapshot` everything else
// but the mapping counts. kOutOfRange (EINVAL) if a refcount would exceed its width.
Task<Result<void>> create_snapshot(Parts& parts, Snapshot snapshot);

// The disk becomes what it was, its size included, with the saved state of the VM behind it. kBusy
// if the image has persistent bitmaps, which would no longer tell the truth.
Task<Result<void>> apply_snapshot(Parts& parts, size_t index);

Task<Result<void>> delete_snapshot(Parts& parts, size_t index);

Task<Result<std::vector<Snapshot>>> list_snapshots(Parts& parts);

std::optional<size_t> find_snapshot_by_id(const std::vector<Snapshot>& all, std::string_view id);
std::optional<size_t> find_snapshot_by_name(const std::vector<Snapshot>& all,
                                            std::string_view name);

}  // namespace hull::blockcore::qcow2
