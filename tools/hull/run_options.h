// What `hull run` understands, turned into the same DomainConfig that a document fills.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/domain.h"
#include "config/findings.h"
#include "tools/hull/job_disks.h"
#include "tools/hull/verbs.h"

namespace hull::cli {

// Of a domain without a name; its PID follows.
inline constexpr std::string_view kMadeUpNamePrefix = "hull-";

struct RunCommand {
  std::string document;             // FILE.xml or "-"; empty: the domain is described by options
  std::vector<std::string> images;  // FILE...: what of them is no document (named_image.h)
  std::array<std::optional<std::string>, 4> drives;  // --hda to --hdd
  std::vector<std::string> disks, cdroms, networks, published;
  std::string boot, bios;  // --boot as take_boot_words() takes it
  std::string name, memory = "512M", console;
  std::optional<std::string> kernel, initrd, append;  // with a document: instead of what it says
  unsigned vcpus = 1;
  unsigned iothreads = 0;  // 0: all disks on one that is there anyway
  std::vector<std::string> ignore;
  std::vector<std::string> secrets;  // as read_secrets() takes them (run_secrets.h)
  std::string root, layout, dump_dtb, on_reboot, on_crash;
  JobWords job;
  std::string result, events;  // as ResultPlace and EventStream::open() take them (run_record.h)
  std::optional<unsigned> timeout_seconds;
  unsigned grace_seconds = 10;
  bool ephemeral = false, strict = false, debug = false, debug_exit = false, no_rng = false;
  bool quiet = false, no_reboot = false;
  bool describes_domain = false;  // an option that takes the place of a document was given
  bool help_shown = false;
};

// Parses the words behind "run", and looks at the files among them. kUsage errors name the option.
Result<RunCommand> parse_run_command(Arguments arguments);

// --kernel, --initrd and --append; the files as absolute paths.
Result<config::BootOverride> boot_words(const RunCommand& command);

// The options that describe a domain, for a command without a document.
Result<config::DomainConfig> domain_from_options(const RunCommand& command);

// What --on-reboot, --no-reboot and --on-crash say, over what `domain` says.
Result<void> set_lifecycle(const RunCommand& command, config::DomainConfig& domain);

// `path` as seen from the current directory; links are not resolved.
Result<std::string> absolute_path(const std::string& path);

}  // namespace hull::cli
