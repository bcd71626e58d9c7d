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
#include "tools/hull/run_secrets.h"
#include "tools/hull/verbs.h"
#include "tools/hull/warden.h"

namespace hull::cli {

namespace {

Result<config::DomainConfig> domain_from_document(const RunCommand& command) {
  const config::ReadOptions options{
      .strict = command.strict, .ignore = command.ignore, .boot = TRY(boot_words(command))};
  config::DomainReading reading = TRY(read_domain_file(command.document, options));
  const std::string source = source_of(command.document);
  for (const config::Finding& warning : reading.warnings)
    log_line(LogLevel::kWarn, warning.text_in(source));
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
  std::string problems;
  for (const config::Problem& problem : config::validate(domain))
    problems += fmt::format("{}{}: {}", problems.empty() ? "" : "\n", domain.name,
                            printable(problem.message));
  if (!problems.empty()) return std::unexpected(Error(ErrorKind::kInvalidConfig, problems));
  return {};
}

Result<config::Paths> choose_paths(const RunCommand& command) {
  if (!command.root.empty()) return config::Paths::below(TRY(absolute_path(command.root)));
  const bool libvirt = command.layout == "libvirt";
  return config::Paths::standard(config::PathEnvironment::of_process(),
                                 libvirt ? config::Product::kLibvirt : config::Product::kHull);
}

Result<int> run_command(const RunCommand& command, Arguments arguments, Warden& warden) {
  if (command.debug) set_log_level(LogLevel::kDebug);
  config::DomainConfig domain = TRY(describe_domain(command));
  if (!command.console.empty()) domain.console = TRY(parse_console(command.console));
  // A foreground run is on the terminal, as with 'virsh start --console', unless the document or
  // the user names another place.
  else if (domain.console && domain.console->kind == config::ConsoleKind::kPty)
    domain.console->kind = config::ConsoleKind::kStdio;
  TRY(config::fill_generated(domain));
  TRY(require_valid(domain));
  vmm::DiskSecrets secrets = TRY(read_secrets(command.secrets));
  TRY(check_secrets(domain, secrets));

  RunOptions options;
  options.paths = TRY(choose_paths(command));
  options.nameless = command.document.empty() && command.name.empty();
  options.dump_dtb = command.dump_dtb;
  options.version = HULL_VERSION;
  options.command_line = {"hull", "run"};
  options.command_line.insert(options.command_line.end(), arguments.begin(), arguments.end());

  const vmm::EndReason end = TRY(run_domain(domain, options,
                                            {.ephemeral = command.ephemeral,
                                             .debug_exit_port = command.debug_exit,
                                             .secrets = std::move(secrets)},
                                            warden)
                                     .with_context(domain.name));
  if (end.kind != vmm::EndKind::kPowerOff && !end.detail.empty())
    log_line(LogLevel::kError, fmt::format("{}: {}", domain.name, end.detail));
  return exit_code_of(end);
}

}  // namespace

int run_verb(Arguments arguments) {
  const auto entry = Warden::Clock::now();
  const Result<RunCommand> command = parse_run_command(arguments);
  if (!command) return report(command.error());
  if (command->help_shown) return kExitOk;
  // A closed pipe has to come back as EPIPE.
  ::signal(SIGPIPE, SIG_IGN);
  Warden::Limits limits{.entry = entry};
  if (command->timeout_seconds.value_or(0) != 0)
    limits.timeout = std::chrono::seconds(*command->timeout_seconds);
  limits.grace = std::chrono::seconds(command->grace_seconds);
  // To the very end: what is still to be said may have to wait for its reader.
  const auto warden = Warden::start(limits);
  if (!warden) return report(warden.error());
  const Result<int> code = run_command(*command, arguments, **warden);
  return code ? *code : report(code.error());
}

}  // namespace hull::cli
