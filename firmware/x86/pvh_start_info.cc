#include "firmware/x86/pvh_start_info.h"

#include "base/endian.h"
#include "firmware/x86/low_memory.h"

namespace hull::firmware {

namespace {

constexpr uint32_t kMagic = 0x336ec578;  // "xEn3", the top bit of the E set
constexpr uint32_t kVersion = 1;         // the first with a memory map

struct StartInfo {
  Le32 magic;
  Le32 version;
  Le32 flags;
  Le32 module_count;
  Le64 modules;
  Le64 command_line;
  Le64 rsdp;
  Le64 memory_map;
  Le32 memory_map_entries;
  Le32 reserved;
};
static_assert(sizeof(StartInfo) == 56 && sizeof(StartInfo) <= kStartInfo.size());

struct Module {
  Le64 start;
  Le64 size;
  Le64 command_line;
  Le64 reserved;
};
static_assert(sizeof(Module) == 32);

struct MapEntry {
  Le64 start;
  Le64 size;
  Le32 type;  // as in e820
  Le32 reserved;
};
static_assert(sizeof(MapEntry) == 24);
static_assert(MemoryMap::kMaxEntries * sizeof(MapEntry) <= kPvhMemoryMap.size());

}  // namespace

void write_start_info(const GuestMemory& memory, const MemoryMap& map,
                      std::span<const LayoutRange> modules, uint64_t rsdp) {
  StartInfo info{};
  info.magic = kMagic;
  info.version = kVersion;
  info.module_count = static_cast<uint32_t>(modules.size());
  info.modules = modules.empty() ? 0 : kModuleList.start;
  info.command_line = kCommandLine.start;
  info.rsdp = rsdp;
  info.memory_map = kPvhMemoryMap.start;
  info.memory_map_entries = static_cast<uint32_t>(map.entries().size());
  low_memory(memory, kStartInfo).write(0, info);

  const GuestSlice list = low_memory(memory, kModuleList);
  for (size_t i = 0; i < modules.size(); ++i)
    list.write(i * sizeof(Module), Module{modules[i].start, modules[i].size(), 0, 0});

  const GuestSlice table = low_memory(memory, kPvhMemoryMap);
  size_t offset = 0;
  for (const MemoryMapEntry& entry : map.entries()) {
    table.write(offset,
                MapEntry{entry.start, entry.size_bytes, static_cast<uint32_t>(entry.type), 0});
    offset += sizeof(MapEntry);
  }
}

}  // namespace hull::firmware
