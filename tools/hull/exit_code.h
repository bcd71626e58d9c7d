// The contract of the exit status: docs/man/hull.1, EXIT STATUS, lists the same numbers.
#pragma once

#include "base/result.h"
#include "vmm/outcome.h"

namespace hull::cli {

enum ExitCode : int {
  kExitOk = 0,          // the guest powered off; the verb did what was asked
  kExitError = 1,       // a file, socket or image failed
  kExitUsage = 2,       // the command line cannot be understood
  kExitRefused = 3,     // the configuration is refused; nothing was started
  kExitHost = 4,        // this host lacks a facility (/dev/kvm, tun, memory)
  kExitBusy = 5,        // the domain or an image is in use
  kExitGuestCrash = 6,  // triple fault, guest panic, or KVM cannot go on with the guest
  kExitInternal = 7,    // a bug in hull
  kExitReset = 8,       // the guest reset itself and on_reboot is destroy
  kExitForced = 9,      // switched off from outside without the guest's consent
  kExitJobFailed = 10,  // powered off, and its own status (--status-from) is another than 0
  kExitDebugBase = 64,  // 64 + (code & 31): the debug-exit port of test guests
  kExitTimeout = 124,   // --timeout ran out, as timeout(1) says it
};

int exit_code_of(const Error& error);
int exit_code_of(const vmm::EndReason& reason);

// Logs "error: …" (a line for each problem) and returns the exit code.
int report(const Error& error);

}  // namespace hull::cli
