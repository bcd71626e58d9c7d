// hull's small guest as it stands inside the program: an ELF file with a PVH note. Any thread.
#pragma once

#include <cstdint>
#include <span>

namespace hull::firmware {

std::span<const uint8_t> small_guest_image();

}  // namespace hull::firmware
