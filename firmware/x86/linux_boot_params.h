// The setup header of a bzImage and the "zero page" that a Linux kernel is entered with
// (Linux Documentation/arch/x86/boot.rst and zero-page.rst).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/endian.h"
#include "base/guest_memory.h"
#include "firmware/x86/memory_map.h"

namespace hull::firmware {

inline constexpr uint64_t kSetupHeaderOffset = 0x1f1;  // in the file and in the zero page

struct SetupHeader {
  uint8_t setup_sects;           // 0x1f1
  Le16 root_flags;               // 0x1f2
  Le32 syssize;                  // 0x1f4, of the protected-mode code, in 16-byte units
  Le16 ram_size;                 // 0x1f8
  Le16 vid_mode;                 // 0x1fa
  Le16 root_dev;                 // 0x1fc
  Le16 boot_flag;                // 0x1fe, 0xaa55
  uint8_t jump_opcode;           // 0x200
  uint8_t jump_distance;         // 0x201, from 0x202 to the end of the header
  Le32 magic;                    // 0x202, "HdrS"
  Le16 version;                  // 0x206
  Le32 realmode_swtch;           // 0x208
  Le16 start_sys_seg;            // 0x20c
  Le16 kernel_version;           // 0x20e
  uint8_t type_of_loader;        // 0x210
  uint8_t loadflags;             // 0x211
  Le16 setup_move_size;          // 0x212
  Le32 code32_start;             // 0x214
  Le32 ramdisk_image;            // 0x218
  Le32 ramdisk_size;             // 0x21c
  Le32 bootsect_kludge;          // 0x220
  Le16 heap_end_ptr;             // 0x224
  uint8_t ext_loader_ver;        // 0x226
  uint8_t ext_loader_type;       // 0x227
  Le32 cmd_line_ptr;             // 0x228
  Le32 initrd_addr_max;          // 0x22c, highest address of the initrd's last byte
  Le32 kernel_alignment;         // 0x230
  uint8_t relocatable_kernel;    // 0x234
  uint8_t min_alignment;         // 0x235
  Le16 xloadflags;               // 0x236
  Le32 cmdline_size;             // 0x238, without the NUL
  Le32 hardware_subarch;         // 0x23c
  Le64 hardware_subarch_data;    // 0x240
  Le32 payload_offset;           // 0x248
  Le32 payload_length;           // 0x24c
  Le64 setup_data;               // 0x250
  Le64 pref_address;             // 0x258
  Le32 init_size;                // 0x260
  Le32 handover_offset;          // 0x264
  uint8_t later[0x290 - 0x268];  // fields newer than protocol 2.12, up to the end of the area
};
static_assert(sizeof(SetupHeader) == 0x290 - kSetupHeaderOffset);
static_assert(offsetof(SetupHeader, magic) == 0x202 - kSetupHeaderOffset);
static_assert(offsetof(SetupHeader, init_size) == 0x260 - kSetupHeaderOffset);
static_assert(std::has_unique_object_representations_v<SetupHeader>);

inline constexpr uint16_t kBootFlag = 0xaa55;
inline constexpr uint32_t kSetupMagic = 0x53726448;   // "HdrS"
inline constexpr uint8_t kLoadedHigh = 1 << 0;        // loadflags
inline constexpr uint8_t kUnregisteredLoader = 0xff;  // type_of_loader

inline constexpr uint32_t kSetupDataDeviceTree = 2;  // SETUP_DTB

// `header` has everything that depends on the machine filled in.
void write_boot_params(const GuestMemory& memory, const SetupHeader& header, const MemoryMap& map,
                       uint64_t rsdp);

}  // namespace hull::firmware
