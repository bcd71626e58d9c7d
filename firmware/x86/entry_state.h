// The state of the boot vCPU at its first instruction, complete: whoever sets it needs to know no
// boot protocol. Registers that are not named here are zero, except those that KVM's reset state
// defines (APIC base, DR6, DR7, XCR0).
#pragma once

#include <cstdint>

namespace hull {
class GuestMemory;
}

namespace hull::firmware {

enum class EntryMode : uint8_t {
  kLinux64,  // long mode, paging on, identity-mapped; Linux boot.rst, "64-bit boot protocol"
  kPvh32,    // flat 32-bit protected mode, paging off; Xen docs/misc/pvh.pandoc
};

// A segment as the CPU caches it, field by field like struct kvm_segment (dpl and avl are 0,
// present is 1, unusable 0).
struct Segment {
  uint16_t selector;
  uint32_t limit;     // in bytes, base is always 0
  uint8_t type;       // SDM vol. 3, 3.4.5.1 and 3.5
  bool code_or_data;  // S
  bool long_mode;     // L
  bool default_32;    // D/B
  bool granular;      // G
};

struct EntryState {
  EntryMode mode;
  uint64_t rip;
  uint64_t rbx;  // kPvh32: struct hvm_start_info
  uint64_t rsi;  // kLinux64: struct boot_params
  uint64_t rflags;
  uint64_t cr0;
  uint64_t cr3;
  uint64_t cr4;
  uint64_t efer;
  Segment code;  // CS
  Segment data;  // DS, ES, FS, GS, SS
  Segment task;  // TR, busy
  uint64_t gdt_base;
  uint16_t gdt_limit;  // the IDT has base and limit 0: an exception is a triple fault
};

// Both write what the state refers to (GDT, page tables) into guest RAM, which must reach up to
// 1 MiB at least.
EntryState enter_linux64(const GuestMemory& memory, uint64_t rip, uint64_t boot_params);
EntryState enter_pvh32(const GuestMemory& memory, uint32_t eip, uint32_t start_info);

}  // namespace hull::firmware
