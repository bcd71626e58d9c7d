// Two connected stream sockets.
#pragma once

#include <sys/socket.h>

#include "base/check.h"
#include "base/unique_fd.h"

namespace hull::testing {

struct SocketPair {
  SocketPair() {
    int fds[2];
    CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    ours = UniqueFd(fds[0]);
    theirs = UniqueFd(fds[1]);
  }
  UniqueFd ours;
  UniqueFd theirs;
};

}  // namespace hull::testing
