// The part of validate() that looks at devices. Internal to config/.
#pragma once

#include <fmt/core.h>

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/domain.h"
#include "config/validate.h"

namespace hull::config {

// Problems in the order in which they were found, each once.
class Problems {
 public:
  // What the next ones are about.
  void about(Subject subject, size_t index = 0) {
    subject_ = subject;
    index_ = index;
  }
  template <class... Args>
  void add(fmt::format_string<Args...> format, Args&&... args) {
    add_message(fmt::format(format, std::forward<Args>(args)...));
  }
  std::vector<Problem> take() && { return std::move(problems_); }

 private:
  void add_message(std::string message);

  Subject subject_ = Subject::kDomain;
  size_t index_ = 0;
  std::vector<Problem> problems_;
};

// `what` names the path in the message.
void check_path(std::string_view what, std::string_view path, Problems& problems);
void check_disks(std::span<const DiskConfig> disks, Problems& problems);
void check_networks(std::span<const NetworkConfig> networks, Problems& problems);
void check_console(const ConsoleConfig& console, Problems& problems);
void check_rng(const RngConfig& rng, Problems& problems);

}  // namespace hull::config
