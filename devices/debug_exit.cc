#include "devices/debug_exit.h"

#include <algorithm>

namespace hull::devices {

void DebugExit::read(uint64_t, std::span<uint8_t> data) { std::ranges::fill(data, uint8_t{0}); }

void DebugExit::write(uint64_t offset, std::span<const uint8_t> data) {
  if (offset != 0) return;
  uint32_t code = 0;
  for (size_t i = 0; i < std::min<size_t>(data.size(), sizeof code); ++i)
    code |= uint32_t{data[i]} << (8 * i);
  events_.debug_exit(code);
}

}  // namespace hull::devices
