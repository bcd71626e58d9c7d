// RAM behind the image, handed out front to back; what a program took is given back when it ends.
#pragma once

#include <cstdint>

namespace hull::guest {

void start_memory();
// Zeroed, aligned to `alignment` (a power of two). nullptr if there is not so much.
void* allocate(uint64_t size, uint64_t alignment = 4096);
uint64_t free_memory();
uint64_t end_of_ram();  // first address above all RAM

// Gives back at its end what was allocated since its beginning.
class MemoryScope {
 public:
  MemoryScope();
  ~MemoryScope();
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  uint64_t next_;
};

}  // namespace hull::guest
