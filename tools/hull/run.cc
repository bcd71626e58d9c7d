// hull run: parse, validate, run, exit code. The main path of the whole program.
#include <signal.h>
#include <unistd.h>

#include "base/log.h"
#include "config/generated.h"
#include "config/validate.h"
#include "tools/hull/domain_document.h"
#include "tools/hull/exit_code.h"
#include "tools/hull/run_domain.h"
#include "tools/hull/run_options.h"
#include "tools/hull/run_record.h"
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
  if (command.document.empty()) return domain_from_options(command);
  if (command.describes_domain)
    return fail(ErrorKind::kUsage,
                "run: {} describes the domain; --disk, --net, --memory, --vcpus, --name and "
                "--no-rng go without it",
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

// Where the run speaks, and whether anybody there can press Ctrl-].
RunObserver::Options observer_options(const RunCommand& command,
                                      const config::DomainConfig& domain) {
  const bool stdio = !domain.console || domain.console->kind == config::ConsoleKind::kStdio;
  return {.name = domain.name,
          .speaks = !command.quiet && ::isatty(STDERR_FILENO) == 1,
          .has_keyboard = stdio && ::isatty(STDIN_FILENO) == 1,
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

Result<config::DomainConfig> prepare_domain(const RunCommand& command) {
  config::DomainConfig domain = TRY(describe_domain(command));
  TRY(set_lifecycle(command, domain));
  if (!command.console.empty()) domain.console = TRY(parse_console(command.console));
  // A foreground run is on the terminal, as with 'virsh start --console', unless the document or
  // the user names another place.
  else if (domain.console && domain.console->kind == config::ConsoleKind::kPty)
    domain.console->kind = config::ConsoleKind::kStdio;
  TRY(config::fill_generated(domain));
  TRY(require_valid(domain));
  return domain;
}

// What was noted on the way is in `record` also when it returns an Error.
Result<vmm::EndReason> run_command(const RunCommand& command, Arguments arguments, Warden& warden,
                                   EventStream* events, RunRecord& record) {
  const config::DomainConfig domain = TRY(prepare_domain(command));
  record.domain = domain.name;
  if (events != nullptr) events->set_domain(domain.name);
  vmm::DiskSecrets secrets = TRY(read_secrets(command.secrets));
  TRY(check_secrets(domain, secrets));

  RunOptions options;
  options.paths = TRY(choose_paths(command));
  options.nameless = command.document.empty() && command.name.empty();
  options.dump_dtb = command.dump_dtb;
  options.version = HULL_VERSION;
  options.command_line = {"hull", "run"};
  options.command_line.insert(options.command_line.end(), arguments.begin(), arguments.end());
  if (options.dump_dtb.empty()) warn_of_stock_kernel(domain);

  RunObserver observer(observer_options(command, domain), events);
  // Disks that options describe know themselves whether they are transient.
  Result<vmm::EndReason> end =
      run_domain(domain, options,
                 {.ephemeral = command.ephemeral && !command.document.empty(),
                  .debug_exit_port = command.debug_exit,
                  .secrets = std::move(secrets)},
                 warden, observer);
  record.resets = observer.resets();
  if (end && end->kind == vmm::EndKind::kReset && end->detail.empty())
    end->detail = "the guest reset itself; --on-reboot restart would have started it again";
  return std::move(end).with_context(domain.name);
}

// Before anything else, so that a mistake is found while nothing has happened.
Result<void> open_reports(const RunCommand& command, UniqueFd& result,
                          std::unique_ptr<EventStream>& events) {
  if (!command.result.empty()) result = TRY(open_result(command.result).with_context("--result"));
  if (!command.events.empty())
    events = TRY(EventStream::open(command.events).with_context("--events"));
  return {};
}

// Says how it ended, and returns the exit code.
int conclude(const RunCommand& command, EventStream* events, int result, RunRecord& record) {
  record.ended = std::chrono::system_clock::now();
  const Result<vmm::EndReason>& end = record.end;
  if (end && end->kind != vmm::EndKind::kPowerOff && !end->detail.empty())
    log_line(LogLevel::kError, fmt::format("{}: {}", record.domain, end->detail));
  record.exit_code = end ? exit_code_of(*end) : report(end.error());
  if (events != nullptr) events->ended(record);
  if (result < 0) return record.exit_code;
  const Result<void> written =
      write_result(result, record).with_context("--result " + command.result);
  // The guest's end counts for more, unless all was well.
  if (!written) {
    const int code = report(written.error());
    return record.exit_code == kExitOk ? code : record.exit_code;
  }
  return record.exit_code;
}

}  // namespace

int run_verb(Arguments arguments) {
  const auto entry = Warden::Clock::now();
  RunRecord record{.started = std::chrono::system_clock::now()};
  const Result<RunCommand> command = parse_run_command(arguments);
  if (!command) return report(command.error());
  if (command->help_shown) return kExitOk;
  if (command->quiet) set_log_level(LogLevel::kError);
  if (command->debug) set_log_level(LogLevel::kDebug);
  // A closed pipe has to come back as EPIPE.
  ::signal(SIGPIPE, SIG_IGN);
  UniqueFd result;
  std::unique_ptr<EventStream> events;
  if (const auto opened = open_reports(*command, result, events); !opened)
    return report(opened.error());
  Warden::Limits limits{.entry = entry};
  if (command->timeout_seconds.value_or(0) != 0)
    limits.timeout = std::chrono::seconds(*command->timeout_seconds);
  limits.grace = std::chrono::seconds(command->grace_seconds);
  // To the very end: what is still to be said may have to wait for its reader.
  const auto warden = Warden::start(limits);
  if (!warden) return report(warden.error());
  record.end = run_command(*command, arguments, **warden, events.get(), record);
  return conclude(*command, events.get(), result.valid() ? result.get() : -1, record);
}

}  // namespace hull::cli
