#include "devices/pvpanic.h"

namespace hull::devices {

uint8_t Pvpanic::read_byte(uint64_t offset) {
  return offset == 0 ? kPanicked | kCrashLoaded : 0xff;
}

void Pvpanic::write_byte(uint64_t offset, uint8_t value) {
  if (offset != 0) return;
  // A guest whose crash kernel takes over goes on, and says more by itself.
  if ((value & kPanicked) != 0) events_.guest_panicked();
}

}  // namespace hull::devices
