// The values of options that describe one device: --disk, --net, --console. Errors are kUsage and
// say what is wrong with the value; the caller names the option.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "config/domain.h"

namespace hull::cli {

// `ephemeral`: what the disk is if it does not say transient=. `index` gives it its name, vda for
// 0.
Result<config::DiskConfig> parse_disk(const std::string& text, size_t index, bool ephemeral);

// nullopt: none is wanted.
Result<std::optional<config::NetworkConfig>> parse_network(const std::string& text);

// Names the option itself.
Result<config::ConsoleConfig> parse_console(const std::string& text);

}  // namespace hull::cli
