// The machine as a flattened device tree (Devicetree Specification 0.4), built with libfdt: the
// same devices that ACPI and the MP table describe, for guests that read nothing else.
//
// Interrupt specifiers follow Linux's x86 binding for "intel,ce4100-ioapic": pin, then 0 = edge
// rising, 1 = level low, 2 = level high, 3 = edge falling.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/guest_memory.h"
#include "firmware/x86/layout.h"
#include "firmware/x86/platform.h"

namespace hull::firmware {

// `cmdline` has at most kCommandLine.size() bytes. Costs microseconds and no page of the guest.
std::vector<uint8_t> build_device_tree(const GuestMemory& memory, const Platform& platform,
                                       std::string_view cmdline, std::optional<LayoutRange> initrd);

}  // namespace hull::firmware
