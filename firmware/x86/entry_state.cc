#include "firmware/x86/entry_state.h"

#include <cstddef>

#include "base/endian.h"
#include "base/guest_memory.h"
#include "firmware/x86/layout.h"
#include "firmware/x86/low_memory.h"

namespace hull::firmware {

namespace {

// Selectors as Linux demands them: __BOOT_CS and __BOOT_DS (boot.rst, "64-bit boot protocol").
constexpr uint16_t kCodeSelector = 0x10;
constexpr uint16_t kDataSelector = 0x18;
constexpr uint16_t kTaskSelector = 0x20;
constexpr uint16_t kGdtEntries = 6;  // a 64-bit TSS takes two

constexpr uint8_t kCodeExecuteReadAccessed = 0xb;
constexpr uint8_t kDataReadWriteAccessed = 0x3;
constexpr uint8_t kTaskBusy = 0xb;

constexpr uint64_t kRflagsAlwaysOne = 1 << 1;
constexpr uint64_t kCr0Protection = 1 << 0;
constexpr uint64_t kCr0ExtensionType = 1 << 4;
constexpr uint64_t kCr0Paging = 1u << 31;
constexpr uint64_t kCr4PhysicalAddressExtension = 1 << 5;
constexpr uint64_t kEferLongModeEnable = 1 << 8;
constexpr uint64_t kEferLongModeActive = 1 << 10;

constexpr uint64_t kPagePresentWritable = 0x3;
constexpr uint64_t kPageLarge = 0x80;

// The descriptor of which `segment` is the cached form (SDM vol. 3, 3.4.5).
uint64_t descriptor(const Segment& segment) {
  const uint64_t limit = segment.granular ? segment.limit >> 12 : segment.limit;
  uint64_t value = (limit & 0xffff) | (limit & 0xf0000) << 32;
  value |= static_cast<uint64_t>(segment.type) << 40;
  value |= static_cast<uint64_t>(segment.code_or_data) << 44;
  value |= 1ull << 47;  // present
  value |= static_cast<uint64_t>(segment.long_mode) << 53;
  value |= static_cast<uint64_t>(segment.default_32) << 54;
  value |= static_cast<uint64_t>(segment.granular) << 55;
  return value;
}

Segment flat_segment(uint16_t selector, uint8_t type, bool long_mode) {
  return {.selector = selector,
          .limit = 0xffffffff,
          .type = type,
          .code_or_data = true,
          .long_mode = long_mode,
          .default_32 = !long_mode,
          .granular = true};
}

EntryState flat_state(const GuestMemory& memory, EntryMode mode) {
  EntryState state{};
  state.mode = mode;
  state.rflags = kRflagsAlwaysOne;
  state.cr0 = kCr0Protection | kCr0ExtensionType;
  state.code = flat_segment(kCodeSelector, kCodeExecuteReadAccessed, mode == EntryMode::kLinux64);
  state.data = flat_segment(kDataSelector, kDataReadWriteAccessed, false);
  state.task = {.selector = kTaskSelector,
                .limit = 0x67,
                .type = kTaskBusy,
                .code_or_data = false,
                .long_mode = false,
                .default_32 = false,
                .granular = false};
  state.gdt_base = kGdt.start;
  state.gdt_limit = kGdtEntries * 8 - 1;
  static_assert(kGdtEntries * 8 <= kGdt.size());
  const GuestSlice gdt = low_memory(memory, kGdt);
  for (const Segment& segment : {state.code, state.data, state.task})
    gdt.write(segment.selector, Le64(descriptor(segment)));
  return state;
}

void write_page_tables(const GuestMemory& memory) {
  const GuestSlice tables = low_memory(memory, kPageTables);
  tables.write(0x0000, Le64((kPageTables.start + 0x1000) | kPagePresentWritable));
  tables.write(0x1000, Le64((kPageTables.start + 0x2000) | kPagePresentWritable));
  constexpr uint64_t kLargePage = 2 << 20;
  static_assert(kIdentityMapped / kLargePage == 512);
  for (size_t i = 0; i < 512; ++i)
    tables.write(0x2000 + i * 8, Le64(i * kLargePage | kPageLarge | kPagePresentWritable));
}

}  // namespace

EntryState enter_linux64(const GuestMemory& memory, uint64_t rip, uint64_t boot_params) {
  EntryState state = flat_state(memory, EntryMode::kLinux64);
  write_page_tables(memory);
  state.rip = rip;
  state.rsi = boot_params;
  state.cr0 |= kCr0Paging;
  state.cr3 = kPageTables.start;
  state.cr4 = kCr4PhysicalAddressExtension;
  state.efer = kEferLongModeEnable | kEferLongModeActive;
  return state;
}

EntryState enter_pvh32(const GuestMemory& memory, uint32_t eip, uint32_t start_info) {
  EntryState state = flat_state(memory, EntryMode::kPvh32);
  state.rip = eip;
  state.rbx = start_info;
  return state;
}

}  // namespace hull::firmware
