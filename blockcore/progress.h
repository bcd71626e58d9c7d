// How long work on an image tells how far it has come.
#pragma once

#include <cstdint>
#include <functional>

namespace hull::blockcore {

// Told how many bytes of how many are done; on the engine's thread. May be empty.
using ProgressReport = std::function<void(uint64_t done, uint64_t total)>;

}  // namespace hull::blockcore
