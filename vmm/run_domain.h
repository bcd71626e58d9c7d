// The main path: from a checked DomainConfig to the reason why the virtual machine ended. Returns,
// so that an orchestrator can embed it; one call at a time per process, from one thread, which
// becomes the event-loop thread while the machine runs.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blockcore/secret.h"
#include "config/domain.h"
#include "config/paths.h"
#include "vmm/outcome.h"

namespace hull::vmm {

struct RunOptions {
  config::Paths paths;
  bool ephemeral = false;  // every disk gets a throw-away overlay
  std::optional<std::chrono::seconds> timeout;
  // After the power button was pressed (SIGTERM, SIGINT): how long until the machine is switched
  // off.
  std::chrono::seconds power_off_grace{10};
  bool debug_exit_port = false;  // the port by which test guests end with a code of their own
  std::string dump_dtb;          // write the device tree here and do not run
  std::string version;           // of the program, for the log
  std::vector<std::string> command_line;  // for the log
};

// By the id under which the domain names them (config::EncryptionConfig).
using DiskSecrets = std::map<std::string, std::shared_ptr<const blockcore::Secret>>;

// `secrets` are wiped when the disks are open, unless the caller holds them as well.
//
// Errors: what the user or the host did wrong, before or while it ran. EndReason: how the guest
// ended, on_reboot=restart having been obeyed in between.
Result<EndReason> run_domain(const config::DomainConfig& domain, const RunOptions& options,
                             DiskSecrets secrets = {});

}  // namespace hull::vmm
