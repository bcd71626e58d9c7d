// One run of a domain by the program: vmm::Domain with a PID file, a log, signals and a clock.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/domain.h"
#include "config/paths.h"
#include "tools/hull/run_observer.h"
#include "tools/hull/warden.h"
#include "vmm/domain.h"

namespace hull::cli {

struct RunOptions {
  // Where the PID file and the log go. None: the name is made up and does not come again, so that
  // nobody could look for them, and no file is made.
  std::optional<config::Paths> paths{};
  std::string dump_dtb;                   // write the device tree here and do not run
  std::string version;                    // of the program, for the log
  std::vector<std::string> command_line;  // for the log
};

// Errors: what the user or the host did wrong before the guest ran, or to its images at the end.
// EndReason: how the guest ended, or who called the start off.
Result<vmm::EndReason> run_domain(const config::DomainConfig& domain, const RunOptions& options,
                                  vmm::DomainOptions machine, Warden& warden,
                                  RunObserver& observer);

}  // namespace hull::cli
