// The two kinds of kernel file. Each loader checks the whole header first, then loads; both treat
// the file as hostile: every offset, length and address from it is checked before it is used.
#pragma once

#include <cstdint>
#include <string>

#include "base/guest_memory.h"
#include "base/result.h"
#include "firmware/image_source.h"
#include "firmware/x86/entry_state.h"
#include "firmware/x86/linux_boot_params.h"
#include "firmware/x86/memory_map.h"

namespace hull::firmware {

// What the rest of the boot needs to know of a kernel that is in memory.
struct LoadedKernel {
  EntryMode mode;
  std::string kind;
  uint64_t entry;          // first instruction; below 4 GiB
  uint64_t end;            // first byte that an initrd may use
  uint64_t initrd_limit;   // first byte that it may not
  uint64_t cmdline_limit;  // in bytes, without the NUL
  SetupHeader header;      // kLinux64: to be completed and handed over
};

Result<LoadedKernel> load_bzimage(const GuestMemory& memory, const MemoryMap& map,
                                  const ImageSource& image);
Result<LoadedKernel> load_elf(const GuestMemory& memory, const MemoryMap& map,
                              const ImageSource& image);

}  // namespace hull::firmware
