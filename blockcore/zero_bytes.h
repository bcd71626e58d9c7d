// Zeros to write where a file cannot be told to read as zeros: one array for all, aligned for
// O_DIRECT. Nobody writes to it; it is not const so that it takes no space in the program, and fits
// an iovec.
#pragma once

#include <array>
#include <cstddef>

namespace hull::blockcore {

alignas(4096) inline constinit std::array<std::byte, size_t{64} << 10> zero_bytes{};

}  // namespace hull::blockcore
