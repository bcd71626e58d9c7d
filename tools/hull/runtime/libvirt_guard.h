// Two programs must not run the same definitions.
#pragma once

#include "config/paths.h"

namespace hull::cli {

// kLibvirt only: refuses (kBusy) while a libvirt QEMU driver holds driver.pid or one of its daemons
// (or systemd for it) listens.
Result<void> check_libvirt_idle(const config::Paths& paths);

}  // namespace hull::cli
