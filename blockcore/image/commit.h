// Writes what an overlay holds into a file below it: `hull img commit`.
#pragma once

#include <optional>
#include <string>

#include "blockcore/engine/io_engine.h"
#include "blockcore/image/chunks.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/qcow2_disk.h"

namespace hull::blockcore {

struct CommitPace {
  ProgressReport progress = {};
  uint64_t bytes_per_second = 0;  // of data; 0: no limit
};

// Writes to `base`, which lies `depth` levels below `overlay` and is no shorter, what is above it.
// Durable in the base when it returns; the overlay is not changed and must not be.
Task<Result<void>> commit_into(Qcow2Disk& overlay, Disk& base, uint32_t depth,
                               const CommitPace& pace);
// After that: gives back all that the overlay holds, whose disk reads the same.
Task<Result<void>> empty_overlay(Qcow2Disk& overlay);

struct CommitOptions {
  std::string path;
  std::optional<DiskFormat> format = std::nullopt;  // absent: as the first bytes have it
  // The file to write to, by its name in the chain or by its path; empty: the backing file. What
  // lies between is written too, and is not valid afterwards.
  std::string base = {};
  bool keep_overlay = false;  // else it is emptied at the end
  // What internal snapshots of the overlay (or of images between) read may change; else that is
  // refused.
  bool change_snapshots = false;
  CacheMode cache = CacheMode::kWriteback;
  ImageKeys keys = {};  // of the overlay and what is below
  CommitPace pace = {};
};

// A base that is smaller than the overlay grows first. The overlay is emptied after the base is
// durable; its disk reads the same at every moment.
Task<Result<void>> commit_image(IoEngine& engine, CommitOptions options);

}  // namespace hull::blockcore
