// What a description may leave out and hull makes up.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "config/domain.h"
#include "config/values.h"

namespace hull::config {

// A random (version 4) UUID from getrandom(2). kHost if there is no entropy.
Result<std::string> generate_uuid();

// 52:54:00:xx:xx:xx, the same for the same identity and index in every run.
MacAddress derive_mac(std::string_view identity, unsigned index);

// Fills absent MAC addresses (from the UUID that the user gave, else from the name, so that a
// domain keeps its addresses from run to run; never one that is taken) and then an absent UUID.
Result<void> fill_generated(DomainConfig& config);

}  // namespace hull::config
