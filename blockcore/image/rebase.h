// Another backing file for an overlay, or none: `hull img rebase`, streaming.
#pragma once

#include <optional>
#include <string>

#include "blockcore/engine/io_engine.h"
#include "blockcore/image/chunks.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/qcow2_disk.h"

namespace hull::blockcore {

// Copies into `overlay` whatever reads differently over the backing disk that it has now
// (set_backing) than over `other` (nullptr: over none, which is streaming), so that the two may
// change places. Nobody else may write to the overlay meanwhile. Nothing of the header is changed;
// durable when it returns.
Task<Result<void>> pull_differences(Qcow2Disk& overlay, Disk* other,
                                    const ProgressReport& progress);

struct RebaseOptions {
  std::string path;
  std::optional<DiskFormat> format = std::nullopt;  // absent: as the first bytes have it
  std::string backing_name = {};    // relative to the overlay; empty: none afterwards
  std::string backing_format = {};  // "raw", "qcow2"; must be there if there is a name
  bool unsafe = false;  // only the header changes: the user says that the contents are the same
  // What internal snapshots of the overlay read may change; else that is refused.
  bool change_snapshots = false;
  CacheMode cache = CacheMode::kWriteback;
  CacheMode backing_cache = CacheMode::kWriteback;
  ImageKeys keys = {};  // of the overlay and its chain as it is
  ProgressReport progress = {};
};

// The disk reads the same afterwards (but for `unsafe`). The new chain must not hold the overlay.
// An error leaves the old backing file in the header and everything readable.
Task<Result<void>> rebase_image(IoEngine& engine, RebaseOptions options);

}  // namespace hull::blockcore
