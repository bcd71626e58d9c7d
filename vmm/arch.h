// The architecture that hull is built for. Neutral code says arch::Board and never the name of the
// folder; vmm/ARCH/ and firmware/ARCH/ hold what is of one architecture by its content.
#pragma once

#if defined(__x86_64__)
#include "vmm/x86/board.h"
namespace hull::vmm {
namespace arch = x86;
}
#else
#error "hull runs on x86-64"
#endif
