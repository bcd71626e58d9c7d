// A directory as a tar archive. What is in it belongs to root and keeps permission bits and times;
// links are not followed, hard links are files of their own.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>

#include "base/result.h"

namespace hull::cli {

struct Packed {
  uint64_t bytes = 0;  // of the archive, a multiple of 4096
  uint64_t entries = 0;
  uint64_t left_out = 0;  // sockets, pipes and devices
};

// Writes from the beginning of `fd`, which is borrowed. kTimeout: `stop` was asked for.
Result<Packed> pack_directory(const std::string& directory, int fd, std::stop_token stop = {});

}  // namespace hull::cli
