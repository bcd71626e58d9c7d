#include "firmware/guest/image.h"

extern "C" const uint8_t hull_guest_image_begin[];
extern "C" const uint8_t hull_guest_image_end[];

namespace hull::firmware {

std::span<const uint8_t> small_guest_image() {
  return {hull_guest_image_begin, hull_guest_image_end};
}

}  // namespace hull::firmware
