// The value of --boot, as users of QEMU's -boot and virt-install's --boot write it.
#pragma once

#include <string>

#include "base/result.h"
#include "config/domain.h"

namespace hull::cli {

// "d", "cd", "order=cd", "hd,cdrom", and with them menu=on|off, splash-time=MS,
// reboot-timeout=MS. kUsage for what cannot be had, with the reason.
Result<void> take_boot_words(const std::string& text, config::BiosConfig& bios);

}  // namespace hull::cli
