// Internal snapshots of an open image: docs/interop/qcow2, "Snapshots".
//
// The disk serves requests meanwhile; they wait while the gate (gate.h) is closed. Snapshots are
// made and deleted in steps of a few MiB of L2 tables, and a request waits for those that were in
// flight and for two steps at most; but one that changes more than a step's tables map at once may
// have to wait for them all. Going back to a snapshot is one step. Of two of these operations the
// second waits for the first; other changes of the image as a whole (resizing, bitmaps, amending,
// close()) must not run meanwhile.
//
// Making one: what was completed, or in flight, when create_snapshot() was started, and nothing
// later, is in the snapshot; the first step makes it durable, so that a flush() before shortens it.
// From then on a table may be changed only after it, and what it maps, was counted once more and
// lost its COPIED flags, so that the change goes to a copy; tables that requests wait for are
// counted first. When all are, the header points at the snapshot. Deleting one: the header forgets
// it, then its tables and what they map are counted down, then COPIED is set where one reference is
// left.
//
// Order of writes: what a snapshot refers to is counted before the header points at it, and counted
// down after the header does not any more. Version 3 images are marked dirty meanwhile, so that a
// crash in between costs a repair at the next opening and nothing else; in a version 2 image it
// leaves leaks and COPIED flags that are clear without need. Whatever is marked COPIED in the
// active mapping and may be written is the active mapping's alone, at every moment.
#pragma once

#include <cstdint>
#include <vector>

#include "blockcore/qcow2/format/snapshot_table.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore::qcow2 {

// Of L2 tables in a step, while requests wait.
inline constexpr uint64_t kSnapshotStepBytes = 4 << 20;
// For a disk that has nothing else to do: one step, in which counts that lie close together are
// read and written once, however far apart the tables are that refer to them.
inline constexpr uint64_t kSnapshotAtOnce = ~uint64_t{0};

// Of the active disk as it is. The id is one more than the largest; of `snapshot` everything else
// but the mapping counts. kOutOfRange (EINVAL) if a refcount would exceed its width. After a
// failure there is no snapshot, unless the very write of the header failed.
Task<Result<void>> create_snapshot(Parts& parts, Snapshot snapshot,
                                   uint64_t step_bytes = kSnapshotStepBytes);

// The disk becomes what it was, its size included, with the saved state of the VM behind it. kBusy
// if the image has persistent bitmaps, which would no longer tell the truth. Requests that waited
// and do not fit into the disk any more fail with kOutOfRange.
Task<Result<void>> apply_snapshot(Parts& parts, size_t index);

// The snapshot may be gone although it fails: then what was its alone leaks until a repair.
Task<Result<void>> delete_snapshot(Parts& parts, size_t index,
                                   uint64_t step_bytes = kSnapshotStepBytes);

Task<Result<std::vector<Snapshot>>> list_snapshots(Parts& parts);

}  // namespace hull::blockcore::qcow2
