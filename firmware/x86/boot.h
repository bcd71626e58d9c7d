// Puts a kernel and everything that it is told into guest RAM.
//
// The kind of kernel is found by its magic: "HdrS" is a bzImage, entered by the 64-bit boot
// protocol (>= 2.12, any compression: it unpacks itself); an ELF file is entered by its PVH note,
// or, if it is a 64-bit executable without one, at its entry point like an unpacked bzImage (that
// is what a bare vmlinux expects). The command line is the caller's and nothing else.
//
// All kinds get ACPI tables, an MP table and an e820 map of the same machine. A device tree would
// tell a kernel that reads both of each processor and device twice. So it is handed over as
// SETUP_DTB, where there are boot_params, to a kernel that is told acpi=off, and to a PVH guest as
// its last module if `device_tree_as_module` asks for it: stock kernels take module 0 for an
// initrd, so that is for guests that look for a module that starts with the FDT magic (0xd00dfeed,
// big-endian).
//
// Errors are one line with the file's name: kInvalidFormat for a file that is not what it claims,
// kUnsupported for a kernel that hull cannot enter, kOutOfRange for what does not fit this
// machine's memory, kInvalidConfig for a command line that is too long.
#pragma once

#include <string>
#include <vector>

#include "base/guest_memory.h"
#include "base/result.h"
#include "firmware/boot.h"
#include "firmware/x86/entry_state.h"
#include "firmware/x86/platform.h"

namespace hull::firmware {

struct LoadedBoot {
  EntryState entry;
  std::string kind;                  // "bzImage 2.15", "PVH ELF", "ELF": for the log
  std::vector<uint8_t> device_tree;  // empty if none was built
};

// `memory` is fresh: all zero, and reaches from 0 to at least 1 MiB in one region. On a reboot the
// caller gives zeroed memory again. Nothing is written before the kernel's header was accepted.
Result<LoadedBoot> load_boot(const GuestMemory& memory, const Platform& platform,
                             const BootSource& source);

}  // namespace hull::firmware
