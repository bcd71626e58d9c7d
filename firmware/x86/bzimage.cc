// bzImage by the 64-bit boot protocol (boot.rst). The kernel is put at its preferred address, never
// elsewhere: below it a kernel would move itself there anyway, and all of our RAM starts at 0.
#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "firmware/x86/kernel.h"
#include "firmware/x86/layout.h"

namespace hull::firmware {

namespace {

constexpr uint16_t kMinVersion = 0x020c;  // 2.12: the first with xloadflags
constexpr uint16_t kKernel64 = 1 << 0;    // XLF_KERNEL_64
constexpr uint64_t kEntry64 = 0x200;      // of startup_64, from the load address
constexpr uint64_t kSector = 512;
constexpr uint64_t kHeaderBase = 0x202;    // jump_distance counts from here
constexpr uint64_t kMinHeaderEnd = 0x268;  // what version 2.12 promises

Result<SetupHeader> read_header(const ImageSource& image) {
  SetupHeader header;
  TRY(image.read(kSetupHeaderOffset, std::as_writable_bytes(std::span(&header, 1))));
  if (header.boot_flag != kBootFlag)
    return fail(ErrorKind::kInvalidFormat, "boot flag at 0x1fe is {:#06x}, not 0xaa55",
                header.boot_flag.get());
  if (header.version < kMinVersion)
    return fail(ErrorKind::kUnsupported, "boot protocol {}.{:02}; hull needs 2.12 (Linux 3.8)",
                header.version >> 8, header.version & 0xff);
  if ((header.xloadflags & kKernel64) == 0 || (header.loadflags & kLoadedHigh) == 0)
    return fail(ErrorKind::kUnsupported,
                "no 64-bit entry point (xloadflags {:#x}, loadflags {:#x})",
                header.xloadflags.get(), header.loadflags);
  const uint64_t end = kHeaderBase + header.jump_distance;
  if (end < kMinHeaderEnd)
    return fail(ErrorKind::kInvalidFormat, "setup header ends at {:#x} (byte 0x201), before {:#x}",
                end, kMinHeaderEnd);
  // Bytes past the header's own end are code, and must reach the kernel as zero.
  const size_t length = static_cast<size_t>(end - kSetupHeaderOffset);
  if (length < sizeof header)
    std::memset(reinterpret_cast<char*>(&header) + length, 0, sizeof header - length);
  return header;
}

struct Placement {
  uint64_t file_offset;
  uint64_t address;
  uint64_t file_bytes;
  uint64_t memory_bytes;
};

Result<Placement> place(const MemoryMap& map, const ImageSource& image, const SetupHeader& header) {
  // 0 means 4, for kernels older than any that we accept; the rule is cheap to follow.
  const uint64_t sectors = header.setup_sects == 0 ? 4 : header.setup_sects;
  const uint64_t offset = (sectors + 1) * kSector;
  if (image.size() <= offset)
    return fail(ErrorKind::kInvalidFormat,
                "truncated: the kernel begins at {:#x}, the file has {:#x}", offset, image.size());
  const uint64_t present = image.size() - offset;
  // The last 16-byte unit may be cut short; what follows it (a signature) is not loaded.
  const uint64_t claimed = uint64_t{header.syssize} * 16;
  if (claimed <= kEntry64 || claimed >= present + 16)
    return fail(ErrorKind::kInvalidFormat,
                "syssize at 0x1f4 claims {:#x} bytes at {:#x}, the file has {:#x}", claimed, offset,
                present);
  const uint64_t file_bytes = std::min(claimed, present);
  const uint64_t memory_bytes = std::max<uint64_t>(file_bytes, header.init_size);
  const uint64_t address = header.pref_address;
  if (address < kKernelMin || address >= kIdentityMapped ||
      memory_bytes > kIdentityMapped - address)
    return fail(ErrorKind::kUnsupported,
                "wants {:#x} bytes at {:#x} (init_size, pref_address); hull maps {:#x} to {:#x}",
                memory_bytes, address, kKernelMin, kIdentityMapped);
  if (!map.is_ram(address, memory_bytes))
    return fail(ErrorKind::kOutOfRange,
                "needs RAM from {:#x} to {:#x}; give the guest at least {} MiB", address,
                address + memory_bytes, divide_up<uint64_t>(address + memory_bytes, 1 << 20));
  return Placement{offset, address, file_bytes, memory_bytes};
}

}  // namespace

Result<LoadedKernel> load_bzimage(const GuestMemory& memory, const MemoryMap& map,
                                  const ImageSource& image) {
  SetupHeader header = TRY(read_header(image));
  const Placement at = TRY(place(map, image, header));
  const auto target = memory.slice(GuestAddress{at.address}, at.file_bytes);
  CHECK(target.has_value());
  TRY(image.load(at.file_offset, *target));
  header.code32_start = static_cast<uint32_t>(at.address);
  return LoadedKernel{
      .mode = EntryMode::kLinux64,
      .kind = fmt::format("bzImage {}.{:02}", header.version >> 8, header.version & 0xff),
      .entry = at.address + kEntry64,
      .end = at.address + at.memory_bytes,
      .initrd_limit = uint64_t{header.initrd_addr_max} + 1,
      .cmdline_limit = header.cmdline_size,
      .header = header,
  };
}

}  // namespace hull::firmware
