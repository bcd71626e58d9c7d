// The bytes of tables that firmware leaves for operating systems.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

namespace hull::firmware {

template <class T>
std::span<const uint8_t> bytes_of(const T& value) {
  static_assert(std::has_unique_object_representations_v<T>);
  return {reinterpret_cast<const uint8_t*>(&value), sizeof value};
}

// What makes the sum of all bytes zero, for ACPI and MP tables.
inline uint8_t checksum(std::span<const uint8_t> bytes) {
  unsigned sum = 0;
  for (const uint8_t byte : bytes) sum += byte;
  return static_cast<uint8_t>(0u - sum);
}

}  // namespace hull::firmware
