// The rules that a DomainConfig obeys wherever it came from: document, command line or library
// caller. After an empty answer the configuration is const.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"
#include "base/result.h"
#include "config/domain.h"

namespace hull::config {

// What a problem is about, so that a document's reader can say where that stands.
enum class Subject : uint8_t {
  kDomain,
  kName,
  kUuid,
  kMemory,
  kVcpus,
  kCpu,
  kKernel,
  kInitrd,
  kCommandLine,
  kDisk,     // number `index` of DomainConfig::disks
  kNetwork,  // number `index` of DomainConfig::networks
  kConsole,
  kRng,
  kLifecycle,
};

struct Problem {
  Subject subject = Subject::kDomain;
  size_t index = 0;     // from 0
  std::string message;  // "disk vda: …", understood without a document
};

// All problems; none: the configuration may be used. The limits are those of base/limits.h.
std::vector<Problem> validate(const DomainConfig& config);

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
// The other way round: "vda" for 0.
std::string virtio_disk_name(size_t index);

}  // namespace hull::config
