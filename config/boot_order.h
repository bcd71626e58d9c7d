// In which order firmware tries the devices.
#pragma once

#include <string>
#include <vector>

#include "config/domain.h"

namespace hull::config {

// The targets of disks, first to last; what is not among them is not tried. A kind of disk (<boot
// dev='hd'/>) means the first one of that kind, as in libvirt.
std::vector<std::string> boot_order(const DomainConfig& config);

}  // namespace hull::config
