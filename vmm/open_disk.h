// From the words of a domain to those of the block core.
#pragma once

#include <memory>

#include "blockcore/disk.h"
#include "blockcore/engine/io_engine.h"
#include "config/domain.h"
#include "vmm/host_parts.h"

namespace hull::vmm {

// On the calling thread, which drives `engine` meanwhile; an encrypted image may take seconds.
// `ephemeral`: as if the disk were transient.
Result<std::unique_ptr<blockcore::Disk>> open_domain_disk(blockcore::IoEngine& engine,
                                                          const config::DiskConfig& disk,
                                                          bool ephemeral,
                                                          const DiskSecrets& secrets);

}  // namespace hull::vmm
