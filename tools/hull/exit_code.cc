#include "tools/hull/exit_code.h"

#include "base/log.h"

namespace hull::cli {

int exit_code_of(const Error& error) {
  switch (error.kind()) {
    case ErrorKind::kUsage: return kExitUsage;
    case ErrorKind::kInvalidConfig: return kExitRefused;
    case ErrorKind::kHost: return kExitHost;
    case ErrorKind::kBusy: return kExitBusy;
    case ErrorKind::kInternal: return kExitInternal;
    // A server that does not answer. What --timeout ends is no error but an order of the warden's.
    case ErrorKind::kTimeout:
    case ErrorKind::kIo:
    case ErrorKind::kInvalidFormat:
    case ErrorKind::kUnsupported:
    case ErrorKind::kCorrupt:
    case ErrorKind::kOutOfRange:
    case ErrorKind::kNoSpace: return kExitError;
  }
  return kExitInternal;
}

int exit_code_of(const vmm::EndReason& reason) {
  switch (reason.kind) {
    case vmm::EndKind::kPowerOff: return kExitOk;
    case vmm::EndKind::kReset: return kExitReset;
    case vmm::EndKind::kPanic:
    case vmm::EndKind::kGuestCrash: return kExitGuestCrash;
    case vmm::EndKind::kDebugExit: return kExitDebugBase + static_cast<int>(reason.code & 31);
    case vmm::EndKind::kForced: return kExitForced;
    case vmm::EndKind::kTimeout: return kExitTimeout;
    case vmm::EndKind::kHostError: return kExitHost;
  }
  return kExitInternal;
}

int report(const Error& error) {
  for (const std::string_view line : error.lines()) log_line(LogLevel::kError, line);
  return exit_code_of(error);
}

}  // namespace hull::cli
