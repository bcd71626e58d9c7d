// What a guest is started from: a kernel that hull loads itself, or firmware that looks for one on
// the guest's disks. How that is done is the architecture's (firmware/x86/boot.h, bios.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "firmware/image_source.h"

namespace hull::firmware {

struct BootSource {
  ImageSource kernel;
  std::optional<ImageSource> initrd;
  std::string cmdline;                 // the caller's and nothing else
  bool device_tree_as_module = false;  // for guests that find their devices by it
  bool return_device_tree = false;     // build the device tree even if the guest gets none
};

struct BiosSource {
  ImageSource image;
  // Names of virtio devices, first to last. Nothing else is started from.
  std::vector<std::string> boot_order;
  bool serial_console = true;        // its texts and menus on the serial port
  std::optional<uint32_t> menu_ms;   // waits so long for a key that opens its menu
  std::optional<uint32_t> retry_ms;  // resets so long after nothing could be started; none: stays
};

using GuestSource = std::variant<BootSource, BiosSource>;

}  // namespace hull::firmware
