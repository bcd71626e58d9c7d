#include "firmware/guest/memory.h"

#include <cstring>

#include "firmware/guest/boot_info.h"

extern "C" char image_end[];

namespace hull::guest {
namespace {

constexpr uint32_t kRam = 1;
constexpr uint64_t kWithoutMap = 16 << 20;  // assumed when the loader gives no memory map

uint64_t next = 0;
uint64_t end = 0;

}  // namespace

void start_memory() {
  next = reinterpret_cast<uint64_t>(image_end);
  end = kWithoutMap;
  for (size_t i = 0; i < boot_info().memory_count; i++) {
    const MemoryRange& range = boot_info().memory[i];
    if (range.type == kRam && range.address <= next && range.address + range.size > next) {
      end = range.address + range.size;
    }
  }
}

void* allocate(uint64_t size, uint64_t alignment) {
  const uint64_t address = (next + alignment - 1) & ~(alignment - 1);
  if (address > end || size > end - address) return nullptr;
  next = address + size;
  return memset(reinterpret_cast<void*>(address), 0, size);
}

uint64_t free_memory() { return end - next; }

uint64_t end_of_ram() {
  uint64_t top = end;
  for (size_t i = 0; i < boot_info().memory_count; i++) {
    const MemoryRange& range = boot_info().memory[i];
    if (range.type == kRam && range.address + range.size > top) top = range.address + range.size;
  }
  return top;
}

MemoryScope::MemoryScope() : next_(next) {}
MemoryScope::~MemoryScope() { next = next_; }

}  // namespace hull::guest
