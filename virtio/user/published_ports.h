// Ports of the host's, tried before passt is given them: what it cannot have it leaves out without
// a word.
#pragma once

#include <span>

#include "base/result.h"
#include "base/user_network.h"

namespace hull::virtio {

// Listens at all of them for a moment, and chooses where a port is 0. kBusy: one is taken; kHost:
// it may not be had, or its address is not this host's.
Result<void> try_ports(std::span<PublishedPort> ports);

// Somebody listens at each of them.
Result<void> check_taken(std::span<const PublishedPort> ports);

}  // namespace hull::virtio
