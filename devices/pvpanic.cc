#include "devices/pvpanic.h"

namespace hull::devices {

uint8_t Pvpanic::read_byte(uint64_t offset) {
  return offset == 0 ? kPanicked | kCrashLoaded : 0xff;
}

void Pvpanic::write_byte(uint64_t offset, uint8_t value) {
  if (offset != 0) return;
  if ((value & kPanicked) != 0)
    events_.guest_panicked();
  else if ((value & kCrashLoaded) != 0)
    events_.guest_crash_loaded();
}

}  // namespace hull::devices
