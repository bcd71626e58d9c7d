// What a guest is started from when hull loads its kernel itself. How that is done is the
// architecture's (firmware/x86/boot.h).
#pragma once

#include <optional>
#include <string>

#include "firmware/image_source.h"

namespace hull::firmware {

struct BootSource {
  ImageSource kernel;
  std::optional<ImageSource> initrd;
  std::string cmdline;                 // the caller's and nothing else
  bool device_tree_as_module = false;  // for guests that find their devices by it
  bool return_device_tree = false;     // build the device tree even if the guest gets none
};

}  // namespace hull::firmware
