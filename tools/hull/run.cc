// hull run: parse, validate, run, exit code. The main path of the whole program.
#include <signal.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"
#include "config/boot_order.h"
#include "config/generated.h"
#include "config/validate.h"
#include "tools/hull/device_words.h"
#include "tools/hull/domain_document.h"
#include "tools/hull/exit_code.h"
#include "tools/hull/img.h"
#include "tools/hull/run_domain.h"
#include "tools/hull/run_options.h"
#include "tools/hull/run_record.h"
#include "tools/hull/run_report.h"
#include "tools/hull/run_secrets.h"
#include "tools/hull/verbs.h"
#include "tools/hull/warden.h"
#include "vmm/host_facts.h"

namespace hull::cli {

namespace {

Result<config::DomainConfig> domain_from_document(const RunCommand& command) {
  const config::ReadOptions options{
      .strict = command.strict, .ignore = command.ignore, .boot = TRY(boot_words(command))};
  config::DomainReading reading = TRY(read_domain_file(command.document, options));
  const std::string source = source_of(command.document);
  for (const config::Finding& warning : reading.warnings)
    if (!command.quiet) log_line(LogLevel::kWarn, warning.text_in(source));
  if (!reading.accepted()) return std::unexpected(reading.refusal(source));
  return std::move(reading.config);
}

Result<config::DomainConfig> describe_domain(const RunCommand& command) {
  if (command.document.empty()) {
    for (const std::string& xpath : command.ignore)
      LOG_WARN("--ignore {}: there is no document whose refusals it could be about", xpath);
    return domain_from_options(command);
  }
  if (command.describes_domain)
    return fail(ErrorKind::kUsage,
                "run: {} describes the domain; options that do so, too (--disk, --memory, --boot, "
                "…), go without it",
                command.document);
  return domain_from_document(command);
}

Result<void> require_valid(const config::DomainConfig& domain) {
  std::vector<std::string> problems;
  for (const config::Problem& problem : config::validate(domain))
    problems.push_back(fmt::format("{}: {}", domain.name, problem.message));
  if (problems.empty()) return {};
  return std::unexpected(Error::list(ErrorKind::kInvalidConfig, problems));
}

Result<config::Paths> choose_paths(const RunCommand& command) {
  if (!command.root.empty()) return config::Paths::below(TRY(absolute_path(command.root)));
  const bool libvirt = command.layout == "libvirt";
  return config::Paths::standard(config::PathEnvironment::of_process(),
                                 libvirt ? config::Product::kLibvirt : config::Product::kHull);
}

// For people: which disk the BIOS tries first, and as what it was taken.
std::string first_to_boot(const config::DomainConfig& domain) {
  if (domain.boot.kind != config::BootKind::kBios) return {};
  const std::vector<std::string> order = config::boot_order(domain);
  if (order.empty()) return "nothing: there is no disk";
  const auto disk = std::ranges::find(domain.disks, order.front(), &config::DiskConfig::target);
  return fmt::format("{}, a {} image ({})", disk->target, img_format_name(disk->format),
                     disk->file);
}

// Where the run speaks, and whether anybody there can press Ctrl-].
RunObserver::Options observer_options(const RunCommand& command,
                                      const config::DomainConfig& domain) {
  const bool stdio = !domain.console || domain.console->kind == config::ConsoleKind::kStdio;
  return {.name = domain.name,
          .boot = first_to_boot(domain),
          .speaks = !command.quiet && ::isatty(STDERR_FILENO) == 1,
          .has_keyboard = stdio && ::isatty(STDIN_FILENO) == 1,
          .lacks_network = command.document.empty() && command.networks.empty() &&
                           command.published.empty() &&
                           domain.boot.kind != config::BootKind::kBuiltinGuest,
          .grace = std::chrono::seconds(command.grace_seconds)};
}

// A minute of silence would tell it less clearly.
void warn_of_stock_kernel(const config::DomainConfig& domain) {
  if (domain.boot.kind == config::BootKind::kBuiltinGuest ||
      vmm::host_has_hardware_virtualisation())
    return;
  LOG_WARN(
      "{}: this host's KVM has no VT-x or AMD-V: stock kernels hang or fail here ('hull doctor')",
      domain.name);
}

// It may work, and slowly; nobody should have to find out why.
void warn_of_size(const config::DomainConfig& domain) {
  const auto cpus = static_cast<unsigned>(std::max(::sysconf(_SC_NPROCESSORS_ONLN), 1L));
  const uint64_t memory = vmm::host_memory_bytes();
  if (domain.memory_bytes > memory)
    LOG_WARN("{}: {} MiB of memory are more than this host has ({} MiB)", domain.name,
             domain.memory_bytes >> 20, memory >> 20);
  if (domain.vcpus > cpus)
    LOG_WARN("{}: {} vCPUs are more than the {} processors of this host", domain.name, domain.vcpus,
             cpus);
}

Result<config::DomainConfig> prepare_domain(const RunCommand& command) {
  config::DomainConfig domain = TRY(describe_domain(command));
  TRY(set_lifecycle(command, domain));
  if (!command.console.empty()) domain.console = TRY(parse_console(command.console));
  // A foreground run is on the terminal, as with 'virsh start --console', unless the document or
  // the user names another place.
  else if (domain.console && domain.console->kind == config::ConsoleKind::kPty)
    domain.console->kind = config::ConsoleKind::kStdio;
  // No guest will write to it, and files keep what they have.
  if (domain.console && !command.dump_dtb.empty()) {
    domain.console.emplace();
    domain.console->kind = config::ConsoleKind::kNull;
  }
  TRY(config::fill_generated(domain));
  TRY(require_valid(domain));
  return domain;
}

// A run that is more than the guest's own end: what came out of it, and its own status.
struct JobEnd {
  std::optional<int> code;  // where the guest itself ended well
  std::string detail;
};

JobEnd end_job(const RunCommand& command, JobDisks& job, bool finished, RunRecord& record) {
  const Result<void> collected = job.collect(finished);
  record.guest_status = job.status();
  if (!collected) return {exit_code_of(collected.error()), collected.error().message()};
  if (command.job.status_from.empty() || record.guest_status == 0u) return {};
  if (!record.guest_status)
    return {kExitJobFailed, fmt::format("the guest has left no status (--status-from {})",
                                        command.job.status_from)};
  return {kExitJobFailed, fmt::format("the guest's own status is {}", *record.guest_status)};
}

// The machine from its description to its end. What was noted on the way is in `record` also when
// it returns an Error.
Result<vmm::EndReason> run_machine(const RunCommand& command, Arguments arguments, Warden& warden,
                                   RunReport& report, const config::DomainConfig& domain,
                                   RunRecord& record) {
  vmm::DiskSecrets secrets = TRY(read_secrets(command.secrets));
  TRY(check_secrets(domain, secrets));
  RunOptions options;
  if (!command.document.empty() || !command.name.empty())
    options.paths = TRY(choose_paths(command));
  options.dump_dtb = command.dump_dtb;
  options.version = HULL_VERSION;
  options.command_line = {"hull", "run"};
  options.command_line.insert(options.command_line.end(), arguments.begin(), arguments.end());
  if (options.dump_dtb.empty()) {
    warn_of_stock_kernel(domain);
    warn_of_size(domain);
  }

  RunObserver::Options observing = observer_options(command, domain);
  observing.resets = &report.resets();
  RunObserver observer(std::move(observing), report.events());
  Result<vmm::EndReason> end = run_domain(
      domain, options, {.debug_exit_port = command.debug_exit, .secrets = std::move(secrets)},
      warden, observer);
  if (end && end->kind == vmm::EndKind::kReset && end->detail.empty())
    end->detail = "the guest reset itself; --on-reboot restart would have started it again";
  return std::move(end).with_context(record.domain);
}

Result<vmm::EndReason> run_command(const RunCommand& command, Arguments arguments, Warden& warden,
                                   RunReport& report, RunRecord& record, JobEnd& job_end) {
  config::DomainConfig domain = TRY(prepare_domain(command));
  record.domain = domain.name;
  warden.set_name(domain.name);
  if (report.events() != nullptr) report.events()->set_domain(domain.name);
  const size_t own_disks = domain.disks.size();
  Result<JobDisks> job = JobDisks::add_to(domain, command.job, warden.start_called_off());
  // What failed because it was called off is no failure.
  if (auto order = warden.order(); !job && order) return *std::move(order);
  if (!job) return std::unexpected(job.error());
  TRY(require_valid(domain));
  // Disks that options describe know themselves whether they are transient.
  if (command.ephemeral && !command.document.empty())
    for (size_t i = 0; i < own_disks; ++i) domain.disks[i].transient = true;
  Result<vmm::EndReason> end = run_machine(command, arguments, warden, report, domain, record);
  if (!end || !command.job.wants_anything() || !command.dump_dtb.empty()) return end;
  warden.settle();
  job_end = end_job(command, *job, end->kind == vmm::EndKind::kPowerOff, record);
  return end;
}

}  // namespace

int run_verb(Arguments arguments) {
  const auto entry = Warden::Clock::now();
  const Result<RunCommand> command = parse_run_command(arguments);
  if (!command) return report(command.error());
  if (command->help_shown) return kExitOk;
  if (command->quiet) set_log_level(LogLevel::kError);
  if (command->debug) set_log_level(LogLevel::kDebug);
  // A closed pipe has to come back as EPIPE.
  ::signal(SIGPIPE, SIG_IGN);
  const auto opened = RunReport::open(*command);
  if (!opened) return report(opened.error());
  RunReport& run_report = **opened;
  Warden::Limits limits{.entry = entry};
  if (command->timeout_seconds.value_or(0) != 0)
    limits.timeout = std::chrono::seconds(*command->timeout_seconds);
  limits.grace = std::chrono::seconds(command->grace_seconds);
  // To the very end: what is still to be said may have to wait for its reader.
  const auto warden = Warden::start(limits);
  if (!warden) return report(warden.error());
  (*warden)->set_reporter([&run_report](const std::string& name, const vmm::EndReason& reason) {
    run_report.tell_left(name, reason);
  });
  RunRecord record;
  JobEnd job;
  record.end = run_command(*command, arguments, **warden, run_report, record, job);
  record.job_detail = std::move(job.detail);
  return run_report.conclude(std::move(record), job.code);
}

}  // namespace hull::cli
