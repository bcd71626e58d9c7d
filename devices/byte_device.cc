#include "devices/byte_device.h"

namespace hull::devices {

void ByteDevice::read(uint64_t offset, std::span<uint8_t> data) {
  for (uint8_t& byte : data) byte = read_byte(offset++);
}

void ByteDevice::write(uint64_t offset, std::span<const uint8_t> data) {
  for (const uint8_t byte : data) write_byte(offset++, byte);
}

}  // namespace hull::devices
