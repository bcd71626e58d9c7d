// The part of validate() that looks at devices. Internal to config/.
#pragma once

#include <fmt/core.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/domain.h"

namespace hull::config {

// Messages in the order in which they were found, each once.
class Problems {
 public:
  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    add_message(fmt::format(format, std::forward<Args>(args)...));
  }
  std::vector<std::string> take() && { return std::move(messages_); }

 private:
  void add_message(std::string message);

  std::vector<std::string> messages_;
};

// `what` names the path in the message.
void check_path(std::string_view what, std::string_view path, Problems& problems);
void check_disks(std::span<const DiskConfig> disks, Problems& problems);
void check_networks(std::span<const NetworkConfig> networks, Problems& problems);
void check_console(const ConsoleConfig& console, Problems& problems);
void check_rng(const RngConfig& rng, Problems& problems);

}  // namespace hull::config
