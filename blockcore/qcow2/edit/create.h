// A new qcow2 image in a file that is already open (empty, or to be overwritten).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "blockcore/crypto/luks.h"
#include "blockcore/file/file.h"
#include "blockcore/qcow2/format/format.h"

namespace hull::blockcore {

enum class Preallocation : uint8_t {
  kOff,
  kMetadata,  // all tables; the data clusters are a hole
  kFalloc,    // and blocks reserved on the host
  kFull,      // and zeros written
};

struct Qcow2Encryption {
  crypto::LuksCreateOptions luks = {};
  std::shared_ptr<const Secret> secret = nullptr;  // must be there
};

// The defaults are those of qemu-img.
struct Qcow2CreateOptions {
  uint64_t size_bytes = 0;
  uint32_t version = 3;
  uint32_t cluster_bits = 16;   // 9 to 21
  uint32_t refcount_order = 4;  // 0 to 6; 4 with version 2
  bool lazy_refcounts = false;  // version 3
  bool extended_l2 = false;     // version 3, cluster_bits >= 14
  qcow2::CompressionType compression = qcow2::CompressionType::kZlib;  // kZstd: version 3
  std::string backing_name = {};    // stored as it is; empty: none
  std::string backing_format = {};  // "raw", "qcow2"
  Preallocation preallocation = Preallocation::kOff;
  // Guest data goes to this file, stored as it is; empty: none. Version 3.
  std::string data_file_name = {};
  bool data_file_raw = false;                                // which alone reads as the disk does
  std::optional<Qcow2Encryption> encryption = std::nullopt;  // excludes preallocation
};

// kInvalidConfig or kOutOfRange if they contradict each other or the format.
Result<void> check_create_options(const Qcow2CreateOptions& options);

// Truncates `file` and writes the image; flushes nothing. With a data_file_name, `data_file` is
// truncated as well and gets the size of the disk. kInvalidConfig or kOutOfRange if the options
// contradict each other or the format.
Task<Result<void>> create_qcow2(File& file, Qcow2CreateOptions options, File* data_file = nullptr);

}  // namespace hull::blockcore
