#include "base/check.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace hull {

void check_failed(const char* condition, const char* file, int line) {
  // Not the logger: the bug may be there, or its lock may be held. Of a pipe that is ready as many
  // bytes as these are taken without waiting; a full one does not keep hull from ending.
  char text[512];
  const int length = snprintf(
      text, sizeof text, "hull: internal error: %s:%d: check failed: %s (this is a bug in hull)\n",
      file, line, condition);
  pollfd entry{.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (::poll(&entry, 1, 100) > 0)
    (void)!::write(STDERR_FILENO, text, std::min<size_t>(static_cast<size_t>(length), sizeof text));
  abort();
}

}  // namespace hull
