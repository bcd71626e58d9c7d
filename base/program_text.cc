#include "base/program_text.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>

// Set by the linker: the program from its first byte to the end of its code. Relocated data, which
// would be lost, lies behind.
extern "C" {
extern const char __executable_start[];  // NOLINT(bugprone-reserved-identifier): the linker's name
extern const char etext[];
}

namespace hull {

void drop_resident_text() {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<uintptr_t>(__executable_start);
  const auto end = reinterpret_cast<uintptr_t>(etext) & ~(page - 1);
  // The linker puts the first byte at the beginning of a page.
  if (start % page == 0 && start < end)
    ::madvise(const_cast<char*>(__executable_start), end - start, MADV_DONTNEED);
}

}  // namespace hull
