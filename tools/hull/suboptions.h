// "FILE,format=qcow2,readonly=on": the comma-separated values that QEMU's and virt-install's
// options take. A comma inside a value is written twice.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hull::cli {

struct Suboption {
  std::string key;  // empty for a first word without '='
  std::string value;
};

// `first_key`: what a leading word without '=' means ("path"); other words without '=' are errors.
Result<std::vector<Suboption>> parse_suboptions(std::string_view text, std::string_view first_key);

// Splits at single commas; ",," stands for a comma.
std::vector<std::string> split_at_commas(std::string_view text);

// "on", "yes", "true", "1" and their opposites.
Result<bool> parse_switch(const Suboption& option);

}  // namespace hull::cli
