// Reference counts of any width inside a block: docs/interop/qcow2, "Refcount block entry". Entries
// narrower than a byte start at the least significant bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/endian.h"

namespace hull::blockcore::qcow2 {

inline uint64_t get_refcount(const std::byte* block, uint32_t order, uint64_t index) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(block);
  if (order < 3) {
    const uint32_t bits = 1U << order;
    const uint64_t bit = index << order;
    return (bytes[bit / 8] >> (bit % 8)) & ((1U << bits) - 1U);
  }
  if (order == 4) return static_cast<uint64_t>(bytes[index * 2]) << 8 | bytes[index * 2 + 1];
  const size_t width = size_t{1} << (order - 3);
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) value = value << 8 | bytes[index * width + i];
  return value;
}

// `value` fits into the width.
inline void set_refcount(std::byte* block, uint32_t order, uint64_t index, uint64_t value) {
  auto* bytes = reinterpret_cast<uint8_t*>(block);
  if (order < 3) {
    const uint32_t bits = 1U << order;
    const uint64_t bit = index << order;
    const uint32_t shift = bit % 8;
    const uint32_t mask = ((1U << bits) - 1U) << shift;
    bytes[bit / 8] = static_cast<uint8_t>((bytes[bit / 8] & ~mask) | (value << shift & mask));
    return;
  }
  const size_t width = size_t{1} << (order - 3);
  for (size_t i = width; i-- > 0; value >>= 8)
    bytes[index * width + i] = static_cast<uint8_t>(value);
}

}  // namespace hull::blockcore::qcow2
