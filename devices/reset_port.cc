#include "devices/reset_port.h"

namespace hull::devices {

namespace {
constexpr uint8_t kResetCpu = 0x04;
}

uint8_t ResetPort::read_byte(uint64_t offset) { return offset == 0 ? value_.load() : 0xff; }

void ResetPort::write_byte(uint64_t offset, uint8_t value) {
  if (offset != 0) return;
  value_.store(value & static_cast<uint8_t>(~kResetCpu));
  if ((value & kResetCpu) != 0) events_.reset();
}

}  // namespace hull::devices
