// Gives back the space that a qcow2 image no longer needs, in its place: for `hull img compact`.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "blockcore/engine/io_engine.h"
#include "blockcore/image/chunks.h"
#include "blockcore/open.h"

namespace hull::blockcore {

struct CompactOptions {
  std::string path;
  std::optional<DiskFormat> format = std::nullopt;  // absent: as the first bytes have it
  CacheMode cache = CacheMode::kWriteback;
  std::shared_ptr<const Secret> secret = nullptr;  // of an encrypted image
  ProgressReport progress = {};
};

struct CompactReport {
  // Length of the file, and what it occupies on the host.
  uint64_t file_bytes_before = 0;
  uint64_t file_bytes = 0;
  uint64_t actual_bytes_before = 0;
  uint64_t actual_bytes = 0;
  // Clusters of the file.
  uint64_t leaks_freed = 0;
  uint64_t zeros_freed = 0;
  uint64_t moved = 0;
  uint64_t holes = 0;  // free, but in front of others that stay where they are
  // What may keep clusters where they are.
  uint32_t snapshots = 0;
  uint32_t bitmaps = 0;
};

// Frees leaked clusters, then those that hold zeros, moves what lies at the end of the file lower
// down (qcow2/compact.h), and cuts the file. kCorrupt, and nothing but leaks has changed, if the
// image has errors; kUnsupported if it is raw or has an external data file. A crash at any moment
// leaves the disk as it was, with leaks at most. Errors name the file.
Task<Result<CompactReport>> compact_image(IoEngine& engine, CompactOptions options);

// The same over a file that the caller has opened, locked and found to be qcow2; all but the
// lengths of the report.
Task<Result<CompactReport>> compact_file(std::unique_ptr<File> file, CompactOptions options);

}  // namespace hull::blockcore
