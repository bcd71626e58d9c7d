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

void ResetPort::save(StateWriter& out) const {
  const auto section = out.section(name(), 1);
  out.u8(value_.load());
}

Result<void> ResetPort::load(StateReader& in) {
  StateReader section = TRY(in.section(name(), 1));
  const uint8_t value = section.u8();
  TRY(section.end());
  value_.store(value & static_cast<uint8_t>(~kResetCpu));
  return {};
}

}  // namespace hull::devices
