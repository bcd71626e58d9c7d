// Guest-like accesses to a device, one register at a time.
#pragma once

#include <array>
#include <cstdint>

#include "devices/bus.h"

namespace hull::testing {

inline uint8_t in8(devices::BusDevice& device, uint64_t offset) {
  uint8_t value = 0;
  device.read(offset, {&value, 1});
  return value;
}

inline void out8(devices::BusDevice& device, uint64_t offset, uint8_t value) {
  device.write(offset, {&value, 1});
}

// Little-endian, as the guest's registers are.
template <class T>
T in(devices::BusDevice& device, uint64_t offset) {
  T value = 0;
  device.read(offset, {reinterpret_cast<uint8_t*>(&value), sizeof value});
  return value;
}

template <class T>
void out(devices::BusDevice& device, uint64_t offset, T value) {
  device.write(offset, {reinterpret_cast<const uint8_t*>(&value), sizeof value});
}

}  // namespace hull::testing
