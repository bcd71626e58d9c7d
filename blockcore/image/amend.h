// Other features for an existing image: `hull img amend`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "blockcore/engine/io_engine.h"
#include "blockcore/file/file.h"
#include "blockcore/open.h"
#include "blockcore/qcow2/qcow2_disk.h"

namespace hull::blockcore {

// What is absent stays.
struct AmendOptions {
  std::string path;
  std::optional<DiskFormat> format = std::nullopt;  // absent: as the first bytes have it
  CacheMode cache = CacheMode::kWriteback;
  std::optional<uint32_t> version = std::nullopt;         // 2 or 3
  std::optional<uint32_t> refcount_order = std::nullopt;  // 0 to 6; 4 with version 2
  std::optional<bool> lazy_refcounts = std::nullopt;      // version 3
  // Of an image that has one: another name for the same bytes; empty: none, so that the image
  // cannot be opened until it has one again.
  std::optional<std::string> data_file = std::nullopt;
  std::optional<bool> data_file_raw = std::nullopt;  // can only be given up
};

// Durable when it returns. kUnsupported for a raw image, and for what the image holds and the
// version does not have: nothing is changed then.
Task<Result<void>> amend_image(IoEngine& engine, AmendOptions options);

// The same of an image that was just opened and has not been used; it must be opened again before
// it is. Each step leaves a valid image: version 3 comes first, version 2 last.
Task<Result<void>> amend_qcow2(Qcow2Disk& disk, AmendOptions options);

}  // namespace hull::blockcore
