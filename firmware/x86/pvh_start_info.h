// What a PVH guest is told (Xen public/arch-x86/hvm/start_info.h, version 1).
#pragma once

#include <span>

#include "base/guest_memory.h"
#include "firmware/x86/layout.h"
#include "firmware/x86/memory_map.h"

namespace hull::firmware {

// Writes struct hvm_start_info to kStartInfo, with its module list and memory map. The command line
// is at kCommandLine.
void write_start_info(const GuestMemory& memory, const MemoryMap& map,
                      std::span<const LayoutRange> modules, uint64_t rsdp);

}  // namespace hull::firmware
