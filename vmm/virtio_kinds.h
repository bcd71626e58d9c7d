// The kinds of virtio devices that a machine can have: a row each. What a machine needs to know of
// a device besides (registers, queues, interrupts, pausing, saved state) is behind
// virtio::VirtioDevice.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.h"
#include "config/domain.h"
#include "virtio/device.h"

namespace hull::vmm {

class HostParts;

// Makes the device for a machine. What it stands on has been opened, and is the same for the next
// machine after a reset; devices of one maker do not live at the same time.
using DeviceMaker = std::function<std::unique_ptr<virtio::VirtioDevice>()>;

struct VirtioKind {
  std::string_view name;
  // How many a configuration has.
  size_t (*count)(const config::DomainConfig& domain);
  // Opens what number `index` of them stands on: images, taps, threads. `host` and `domain` outlive
  // the maker.
  Result<DeviceMaker> (*open)(HostParts& host, const config::DomainConfig& domain, size_t index);
};

// In the order in which devices are opened, get their places in the machine (registers, interrupt)
// and are saved.
std::span<const VirtioKind> virtio_kinds();

}  // namespace hull::vmm
