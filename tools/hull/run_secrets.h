// hull run --secret, and the words of --disk that refer to it.
#pragma once

#include <span>
#include <string>

#include "config/domain.h"
#include "tools/hull/encrypt_words.h"
#include "vmm/host_parts.h"

namespace hull::cli {

// Each option is ID=file:PATH or ID=fd:N; what a file or descriptor holds is the secret, its last
// newline included. A descriptor is read to its end and closed. Errors never show what stands in
// the place of file: or fd:, which might be a secret itself.
Result<vmm::DiskSecrets> read_secrets(std::span<const std::string> options);

// Every secret that the domain names must be there (one line for each that is not); a warning for
// those that it does not name.
Result<void> check_secrets(const config::DomainConfig& domain, const vmm::DiskSecrets& secrets);

// Level 0 is the disk itself. kUsage for a level that has a format and no secret.
Result<void> set_encryption(std::span<const EncryptWords> levels, config::DiskConfig& disk);

}  // namespace hull::cli
