// Streaming: an overlay takes over what it still has from its backing chain, and needs it no
// longer; while it serves requests (unlike `hull img rebase -b ""`, which does the same offline).
#pragma once

#include <functional>

#include "blockcore/image/chunks.h"
#include "blockcore/qcow2/qcow2_disk.h"

namespace hull::blockcore {

struct StreamOptions {
  // Requests wait while so much is copied. A multiple of the cluster size is best.
  uint64_t step_bytes = 1 << 20;
  ProgressReport progress = {};
  // Asked before each step: false ends it. What was copied stays, and the next time begins behind
  // it.
  std::function<bool()> may_go_on = {};
};

// True: the disk holds all that it reads, its header names no backing file any more, and the
// backing disk is closed. False: it was told to end. The contents stay the same at every moment,
// also after a crash and after an error, and no dirty bitmap notices. kUnsupported, before anything
// is copied, if the image has internal snapshots: they read from the backing file, too. On the
// engine's thread; no other change of the image as a whole but snapshots may run meanwhile.
Task<Result<bool>> stream_backing(Qcow2Disk& overlay, StreamOptions options);

}  // namespace hull::blockcore
