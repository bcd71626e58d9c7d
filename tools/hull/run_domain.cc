#include "tools/hull/run_domain.h"

#include <unistd.h>

#include "base/log.h"
#include "base/program_text.h"
#include "base/unique_fd.h"
#include "config/values.h"
#include "tools/hull/runtime/domain_log.h"
#include "tools/hull/runtime/libvirt_guard.h"
#include "tools/hull/runtime/pid_file.h"

namespace hull::cli {

namespace {

constexpr std::chrono::milliseconds kStartUpIsOver{200};

ShutdownReason shutdown_reason(vmm::EndKind kind) {
  switch (kind) {
    case vmm::EndKind::kPowerOff:
    case vmm::EndKind::kReset:
    case vmm::EndKind::kDebugExit: return ShutdownReason::kShutdown;
    case vmm::EndKind::kForced:
    case vmm::EndKind::kTimeout: return ShutdownReason::kDestroyed;
    case vmm::EndKind::kPanic:
    case vmm::EndKind::kGuestCrash: return ShutdownReason::kCrashed;
    case vmm::EndKind::kHostError: return ShutdownReason::kFailed;
  }
  return ShutdownReason::kFailed;
}

// The log is not the result: what cannot be written is a warning.
void write_end(std::optional<DomainLog>& log, const vmm::EndReason& end) {
  if (!log) return;
  Result<void> written;
  if (!end.detail.empty()) written = log->event(end.detail);
  if (auto last = log->shutting_down(shutdown_reason(end.kind)); written) written = std::move(last);
  if (!written) LOG_WARN("log: {}", written.error().message());
}

Result<void> write_device_tree(vmm::Domain& machine, const std::string& path) {
  if (machine.device_tree().empty())
    return fail(ErrorKind::kUsage, "--dump-dtb: a BIOS gets no device tree; name a --kernel");
  const UniqueFd file = TRY(open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  TRY(write_all(file.get(), std::as_bytes(std::span(machine.device_tree()))).with_context(path));
  return machine.close();
}

// The files by which others find a run under its name. The PID file is locked from here on, and
// goes last of all, also when the warden has to leave by force.
class RunFiles {
 public:
  RunFiles(PidFile pid_file, std::string log_file, Warden& warden)
      : pid_file_(std::move(pid_file)), log_file_(std::move(log_file)), warden_(warden) {
    warden_.set_last_duty([this] { pid_file_.remove(); });
  }
  ~RunFiles() { warden_.set_last_duty(nullptr); }
  RunFiles(const RunFiles&) = delete;
  RunFiles& operator=(const RunFiles&) = delete;

  const std::string& log_file() const { return log_file_; }

  // The guest is about to run: it says so in the log and shows the number in the PID file.
  Result<DomainLog> begin(const RunOptions& options) {
    DomainLog log = TRY(DomainLog::open(log_file_));
    TRY(log.starting_up(options.version, options.command_line));
    TRY(pid_file_.publish(::getpid()));
    return log;
  }

 private:
  PidFile pid_file_;
  std::string log_file_;
  Warden& warden_;
};

// Until the guest, or somebody for it, has ended the run.
Result<vmm::EndReason> run(vmm::Domain& machine, EventLoop& loop, const std::string& name,
                           Warden& warden, RunObserver& observer) {
  machine.on_escape([&warden] { warden.wish_for_end(); });
  warden.on_power_button([&observer] { observer.on_power_button(); });
  machine.on_event([&](vmm::DomainState state) {
    observer.on_state(loop, state, machine.console_path());
    if (state == vmm::DomainState::kEnded) loop.stop();
    if (state == vmm::DomainState::kPreserved)
      LOG_WARN("{}: kept as on_crash, on_reboot or on_poweroff asks{}{}; a signal ends it", name,
               machine.reason().detail.empty() ? "" : ": ", machine.reason().detail);
  });
  TRY(warden.attach(loop, machine));
  TRY(machine.start());
  const uint64_t settled = loop.call_after(kStartUpIsOver, drop_resident_text);
  TRY(loop.run());
  loop.cancel(settled);
  warden.detach();
  observer.stop();
  return machine.reason();
}

std::vector<RunNetwork> networks_of(const config::DomainConfig& domain,
                                    const vmm::Domain& machine) {
  std::vector<RunNetwork> networks;
  networks.reserve(domain.networks.size());
  for (size_t i = 0; i < domain.networks.size(); ++i) {
    const config::NetworkConfig& network = domain.networks[i];
    const vmm::NetworkFacts& facts = machine.networks()[i];
    networks.push_back({.mac = config::format_mac(network.mac),
                        .interface = facts.interface,
                        .address = network.kind == config::NetworkKind::kUser
                                       ? format_ipv4(network.user.address.address)
                                       : "",
                        .published = facts.published});
  }
  return networks;
}

Result<void> lock_name(const config::Paths& paths, const std::string& name, Warden& warden,
                       std::optional<RunFiles>& files) {
  TRY(check_libvirt_idle(paths));
  if (const auto made = paths.create_run_directories(); !made)
    return std::unexpected(Error(
        made.error().kind(), made.error().message() + "; --root DIR puts hull's files elsewhere",
        made.error().error_number()));
  const config::DomainPaths names = TRY(paths.of_domain(name, static_cast<unsigned>(::getpid())));
  PidFile acquired = TRY(PidFile::acquire(names.pid_file));
  files.emplace(std::move(acquired), names.log_file, warden);
  return {};
}

Result<vmm::EndReason> build_and_run(const config::DomainConfig& domain, const RunOptions& options,
                                     vmm::DomainOptions machine_options, RunFiles* files,
                                     Warden& warden, RunObserver& observer) {
  machine_options.on_console_output = [&observer](std::span<const uint8_t> bytes) {
    observer.on_console_output(bytes);
  };
  machine_options.on_disk_error = observer.disk_error_listener();
  machine_options.cancel = warden.start_called_off();
  machine_options.return_device_tree = !options.dump_dtb.empty();
  EventLoop loop = TRY(EventLoop::create());
  const auto machine = TRY(vmm::Domain::create(loop, domain, std::move(machine_options)));
  if (!options.dump_dtb.empty()) {
    TRY(write_device_tree(*machine, options.dump_dtb));
    return vmm::EndReason{.kind = vmm::EndKind::kPowerOff};
  }
  // Nobody could find the terminal otherwise, whatever the log level.
  if (domain.console && domain.console->kind == config::ConsoleKind::kPty)
    log_line(LogLevel::kInfo, fmt::format("console: {}", machine->console_path()));
  observer.set_networks(networks_of(domain, *machine));
  std::optional<DomainLog> log;
  if (files != nullptr) {
    log = TRY(files->begin(options));
    observer.set_log_file(files->log_file());
  }
  Result<vmm::EndReason> end = run(*machine, loop, domain.name, warden, observer);
  if (!end) end = vmm::EndReason{.kind = vmm::EndKind::kHostError, .detail = end.error().message()};
  // Before the images are closed, which may take longer than there is time for.
  write_end(log, *end);
  TRY(machine->close());
  return end;
}

}  // namespace

Result<vmm::EndReason> run_domain(const config::DomainConfig& domain, const RunOptions& options,
                                  vmm::DomainOptions machine, Warden& warden,
                                  RunObserver& observer) {
  warden.set_name(domain.name);
  std::optional<RunFiles> files;
  if (options.paths) TRY(lock_name(*options.paths, domain.name, warden, files));
  Result<vmm::EndReason> end = build_and_run(domain, options, std::move(machine),
                                             files ? &*files : nullptr, warden, observer);
  if (end) return end;
  // What failed because it was called off is no failure.
  if (auto order = warden.order()) return *std::move(order);
  return end;
}

}  // namespace hull::cli
