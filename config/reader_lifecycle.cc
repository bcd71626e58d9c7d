// <on_poweroff>, <on_reboot>, <on_crash>. Unknown words have been refused by the table.
#include "config/reader_parts.h"

namespace hull::config {

namespace {

void read_action(const XmlElement& root, std::string_view name, LifecycleAction& action) {
  const XmlElement* element = root.child(name);
  if (element == nullptr) return;
  const std::string_view word = element->trimmed_text();
  if (word == "destroy" || word == "coredump-destroy") action = LifecycleAction::kDestroy;
  if (word == "restart" || word == "coredump-restart") action = LifecycleAction::kRestart;
  if (word == "preserve") action = LifecycleAction::kPreserve;
}

}  // namespace

void read_lifecycle(const XmlElement& root, DomainConfig& config, Findings&) {
  read_action(root, "on_poweroff", config.on_poweroff);
  read_action(root, "on_reboot", config.on_reboot);
  read_action(root, "on_crash", config.on_crash);
}

}  // namespace hull::config
