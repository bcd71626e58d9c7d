// The rules that a DomainConfig obeys wherever it came from: document, command line or library
// caller. After an empty answer the configuration is const.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/domain.h"

namespace hull::config {

inline constexpr size_t kMaxNameBytes = 200;
inline constexpr uint64_t kMemoryGranularity = 4096;
inline constexpr uint64_t kMinMemoryBytes = 2ULL << 20;
inline constexpr uint64_t kMaxMemoryBytes = 1ULL << 46;  // what x86-64 hosts address at most
inline constexpr unsigned kMaxVcpus = 1024;              // the host's limit may be lower
inline constexpr size_t kMaxCommandLineBytes = 4095;
inline constexpr size_t kMaxDisks = 64;
inline constexpr size_t kMaxNetworks = 32;
inline constexpr size_t kMaxBackingDepth = 64;
inline constexpr size_t kMaxSerialBytes = 20;  // VIRTIO_BLK_ID_BYTES
inline constexpr unsigned kMaxQueues = 64;
inline constexpr unsigned kMaxQueueSize = 1024;
inline constexpr size_t kMaxPathBytes = 4095;
inline constexpr size_t kMaxCpuFeatures = 256;

// All problems, one message each ("disk vda: …"); empty: the configuration may be used.
std::vector<std::string> validate(const DomainConfig& config);

// A name becomes file names: no '/', control characters, '.', '..' or leading '-'; at most
// kMaxNameBytes bytes of UTF-8. kInvalidConfig otherwise.
Result<void> check_domain_name(std::string_view name);

// Position of a disk target among those of its prefix: "vda" 0, "vdz" 25, "vdaa" 26. Partitions
// ("vda1") and names without a known prefix (vd, sd, hd, xvd, fd, ubd) are kInvalidConfig.
struct TargetName {
  std::string_view prefix;
  unsigned index;
};
Result<TargetName> parse_target_name(std::string_view target);

}  // namespace hull::config
