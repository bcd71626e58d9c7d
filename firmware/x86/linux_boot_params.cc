#include "firmware/x86/linux_boot_params.h"

#include "firmware/x86/low_memory.h"

namespace hull::firmware {

namespace {

// Offsets in struct boot_params. All that is not written stays zero: no screen, no APM, no EDD.
constexpr size_t kAcpiRsdp = 0x070;
constexpr size_t kE820Count = 0x1e8;
constexpr size_t kE820Table = 0x2d0;
constexpr size_t kE820Limit = 128;

struct E820Entry {
  Le64 start;
  Le64 size;
  Le32 type;
};
static_assert(sizeof(E820Entry) == 20);
static_assert(MemoryMap::kMaxEntries <= kE820Limit);

}  // namespace

void write_boot_params(const GuestMemory& memory, const SetupHeader& header, const MemoryMap& map,
                       uint64_t rsdp) {
  const GuestSlice params = low_memory(memory, kBootParams);
  params.write(kAcpiRsdp, Le64(rsdp));
  params.write(kSetupHeaderOffset, header);
  params.write(kE820Count, static_cast<uint8_t>(map.entries().size()));
  size_t offset = kE820Table;
  for (const MemoryMapEntry& entry : map.entries()) {
    params.write(offset,
                 E820Entry{entry.start, entry.size_bytes, static_cast<uint32_t>(entry.type)});
    offset += sizeof(E820Entry);
  }
}

}  // namespace hull::firmware
