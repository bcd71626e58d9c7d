#include "vmm/run_domain.h"

#include <unistd.h>

#include "base/log.h"
#include "base/unique_fd.h"
#include "config/domain_log.h"
#include "config/pid_file.h"
#include "vmm/session.h"

namespace hull::vmm {

namespace {

config::ShutdownReason shutdown_reason(const Result<EndReason>& end) {
  if (!end) return config::ShutdownReason::kFailed;
  switch (end->kind) {
    case EndKind::kPowerOff:
    case EndKind::kReset:
    case EndKind::kDebugExit: return config::ShutdownReason::kShutdown;
    case EndKind::kForced:
    case EndKind::kTimeout: return config::ShutdownReason::kDestroyed;
    case EndKind::kPanic:
    case EndKind::kGuestCrash: return config::ShutdownReason::kCrashed;
    case EndKind::kHostError: return config::ShutdownReason::kFailed;
  }
  return config::ShutdownReason::kFailed;
}

Result<void> write_device_tree(Session& session, const std::string& path) {
  const std::vector<uint8_t> tree = TRY(session.device_tree());
  const UniqueFd file = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  return write_all(file.get(), std::as_bytes(std::span(tree))).with_context(path);
}

}  // namespace

Result<EndReason> run_domain(const config::DomainConfig& domain, const RunOptions& options,
                             DiskSecrets secrets) {
  TRY(config::check_libvirt_idle(options.paths));
  TRY(options.paths.create_run_directories());
  const auto pid = static_cast<unsigned>(::getpid());
  const config::DomainPaths files = TRY(options.paths.of_domain(domain.name, pid));
  config::PidFile pid_file = TRY(config::PidFile::acquire(files.pid_file));
  auto session = TRY(Session::create(domain, options, std::move(secrets)));
  if (!options.dump_dtb.empty()) {
    TRY(write_device_tree(*session, options.dump_dtb));
    TRY(session->close());
    return EndReason{.kind = EndKind::kPowerOff};
  }
  config::DomainLog log = TRY(config::DomainLog::open(files.log_file));
  TRY(log.starting_up(options.version, options.command_line));
  TRY(pid_file.publish(static_cast<pid_t>(pid)));

  Result<EndReason> end = session->run();
  const Result<void> closed = session->close();
  if (end && !end->detail.empty()) TRY(log.event(end->detail));
  if (!end) TRY(log.event(end.error().message()));
  TRY(log.shutting_down(shutdown_reason(end)));
  if (end && !closed) return std::unexpected(closed.error());
  return end;
}

}  // namespace hull::vmm
