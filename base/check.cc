#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace hull {

void check_failed(const char* condition, const char* file, int line) {
  // dprintf and not the logger: the bug may be in the logger, or its lock may be held.
  dprintf(2, "hull: internal error: %s:%d: check failed: %s (this is a bug in hull)\n", file, line,
          condition);
  abort();
}

}  // namespace hull
