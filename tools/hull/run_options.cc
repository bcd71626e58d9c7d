#include "tools/hull/run_options.h"

#include <algorithm>
#include <filesystem>

#include "base/limits.h"
#include "config/validate.h"
#include "config/values.h"
#include "tools/hull/boot_words.h"
#include "tools/hull/command_line.h"
#include "tools/hull/device_words.h"
#include "tools/hull/named_image.h"
#include "tools/hull/user_network_words.h"

namespace hull::cli {

namespace {

void describe_options(CommandLine& app, RunCommand& command) {
  app.add_option("FILE", command.images,
                 "domain XML, '-' for standard input; or disk images, raw or qcow2, of which the "
                 "first is started; without it options describe the domain");
  app.add_option(
      "--kernel hull:guest|FILE", command.kernel,
      "bzImage or ELF with a PVH note; hull:guest is hull's own small guest; with FILE: instead "
      "of the boot part of the document");
  app.add_option("--initrd FILE", command.initrd, "initial RAM disk");
  app.add_option("--append TEXT", command.append, "kernel command line, passed as it is");
  app.add_option(
      "--disk "
      "FILE[,format=raw|qcow2][,readonly=on|off][,transient=on|off][,serial=S][,discard=unmap|"
      "ignore]"
      "[,cache=writeback|none|writethrough|directsync|unsafe][,l2-cache-size=SIZE]"
      "[,target=vdX][,boot=N][,encrypt.key-secret=ID][,backing.encrypt.key-secret=ID]",
      command.disks,
      "a virtio disk, raw if nothing is said; FILE may be an NBD URL; may be repeated");
  app.add_option("--hda FILE", command.drives[0], "the same as FILE: a disk image");
  app.add_option("--hdb FILE", command.drives[1], "a second one");
  app.add_option("--hdc FILE", command.drives[2], "a third one");
  app.add_option("--hdd FILE", command.drives[3], "a fourth one");
  app.add_option("--cdrom FILE", command.cdroms,
                 "as --disk, read-only, and a CD-ROM to --boot; may be repeated");
  app.add_option(
      "--boot [hd|cdrom|c|d|order=LETTERS],…[,menu=on][,splash-time=MS][,reboot-timeout=MS]",
      command.boot, "what the BIOS tries, in this order (default: all disks)");
  app.add_option("--bios FILE", command.bios,
                 "what starts a guest without --kernel (default: the host's SeaBIOS)");
  app.add_option(
      "--net "
      "none|user|tap|null[,mac=MAC][,mtu=N][,ifname=IF][,bridge=BR][,publish=[ADDR:][PORT]:PORT[/"
      "udp]]"
      "[,address=ADDR[/PREFIX]][,dns=ADDR][,host=on|off][,restrict=internet][,interface=IF]",
      command.networks,
      "a network interface; user: with nobody's permission, by passt; may be repeated (default: "
      "none)");
  app.add_option("-p,--publish [ADDR:][PORT]:PORT[/udp]", command.published,
                 "a port of the host's (of 127.0.0.1 without ADDR) leads to one of the guest's; "
                 "gives the guest --net user if no other has been asked for; may be repeated");
  app.add_option("--memory SIZE", command.memory, "MiB without a suffix (default 512M)");
  app.add_option("--vcpus N", command.vcpus, "virtual processors (default 1)");
  app.add_option("--iothreads N", command.iothreads,
                 "I/O threads that the disks share in turn (default: one for all disks)");
  app.add_option("--name DOMAIN", command.name, "name of the domain (default: hull-PID)");
  app.add_flag("--no-rng", command.no_rng, "no virtio random number device");
  app.add_flag("--ephemeral", command.ephemeral,
               "write all disks to throw-away overlays that leave nothing behind");
  app.add_flag("--strict", command.strict, "refuse what would be a warning");
  app.add_option("--ignore XPATH", command.ignore,
                 "turn the refusal of this element into a warning; may be repeated");
  app.add_option("--secret ID=file:PATH|ID=fd:N", command.secrets,
                 "what opens encrypted images; may be repeated");
  app.add_option("--console stdio|file:PATH|pty|unix:PATH|null", command.console,
                 "where the serial port goes; in a stdio session Ctrl-] presses the power button");
  app.add_option("--root DIR", command.root, "keep all of hull's files below this directory");
  app.add_option("--layout", command.layout, "whose directories to use (default: hull)")
      .one_of({"hull", "libvirt"});
  app.add_option("--timeout SECONDS", command.timeout_seconds,
                 "switch off after this time and exit with 124; 0: never");
  app.add_option("--grace SECONDS", command.grace_seconds,
                 "between the power button (SIGTERM) and switching off (default 10)");
  app.add_option("--on-reboot", command.on_reboot,
                 "what a reset does (default: destroy; with a document, what that says)")
      .one_of({"destroy", "restart", "preserve"});
  app.add_option("--on-crash", command.on_crash, "what a panic or a crash does (default: destroy)")
      .one_of({"destroy", "restart", "preserve"});
  app.add_flag("--no-reboot", command.no_reboot, "the same as --on-reboot destroy");
  app.add_option("--in DIR", command.job.in,
                 "one more disk: what is in this directory, as a tar archive");
  app.add_option("--out DIR", command.job.out,
                 "one more disk: a tar archive on it comes into this directory afterwards");
  app.add_option("--out-size SIZE", command.job.out_size,
                 "size of that disk; MiB without a suffix (default 1G)");
  app.add_option("--status-from disk|NAME", command.job.status_from,
                 "the guest's own status, 0 to 255: from one more disk, or a file that came out");
  app.add_option("--result FILE|fd:N", command.result, "write there in JSON how the run ended");
  app.add_option("--events fd:N|unix:PATH", command.events,
                 "write there a line of JSON for each thing that happens");
  app.add_flag("--quiet", command.quiet, "say nothing on standard error but errors");
  app.add_option("--dump-dtb FILE", command.dump_dtb,
                 "write the device tree to this file and do not run");
  app.add_flag("--debug-exit", command.debug_exit,
               "give test guests a port that ends hull with a code");
  app.add_flag("--debug", command.debug, "say more on standard error");
  app.know_foreign_words(foreign_run_options());
}

// What an option's value says wrongly is a mistake of the command line, whichever parser finds it.
template <class T>
Result<T> as_usage(Result<T> result) {
  if (result || result.error().kind() != ErrorKind::kInvalidConfig) return result;
  return std::unexpected(Error(ErrorKind::kUsage, result.error().message()));
}

Result<std::string> kernel_path(const std::string& kernel) {
  if (kernel.empty()) return fail(ErrorKind::kUsage, "--kernel: which file?");
  if (kernel == config::kBuiltinGuestKernel) return kernel;
  if (kernel.starts_with("hull:"))
    return fail(ErrorKind::kUsage, "--kernel {}: there is no such built-in guest; {} is the one",
                kernel, config::kBuiltinGuestKernel);
  return absolute_path(kernel);
}

Result<void> set_bios(const RunCommand& command, config::BootConfig& boot) {
  boot.kind = config::BootKind::kBios;
  if (!command.bios.empty()) boot.bios.image = TRY(absolute_path(command.bios));
  if (!command.boot.empty())
    TRY(take_boot_words(command.boot, boot.bios).with_context("--boot " + command.boot));
  return {};
}

// The first disk is one that was named without its format.
bool names_image(const RunCommand& command) {
  return !command.images.empty() ||
         std::ranges::any_of(command.drives, [](const auto& path) { return path.has_value(); });
}

Result<void> add_disks(const RunCommand& command, std::vector<config::DiskConfig>& disks) {
  const auto add_image = [&](const std::string& path) -> Result<void> {
    config::DiskConfig disk = TRY(disk_of_image(path));
    disk.target = config::virtio_disk_name(disks.size());
    disk.transient = command.ephemeral;
    disks.push_back(std::move(disk));
    return {};
  };
  for (const std::string& path : command.images) TRY(add_image(path));
  for (const auto& path : command.drives)
    if (path) TRY(add_image(*path));
  const auto add = [&](const std::string& text, const char* option) -> Result<void> {
    disks.push_back(TRY(parse_disk(text, disks.size(), command.ephemeral)
                            .with_context(fmt::format("{} {}", option, text))));
    return {};
  };
  for (const std::string& disk : command.disks) TRY(add(disk, "--disk"));
  for (const std::string& disk : command.cdroms) {
    TRY(add(disk, "--cdrom"));
    disks.back().cdrom = disks.back().read_only = true;
  }
  return {};
}

// To the first network that can have ports.
Result<void> add_published(const RunCommand& command,
                           std::vector<config::NetworkConfig>& networks) {
  if (command.published.empty()) return {};
  auto user = std::ranges::find(networks, config::NetworkKind::kUser, &config::NetworkConfig::kind);
  if (user == networks.end()) {
    if (!command.networks.empty())
      return fail(ErrorKind::kUsage, "run: --publish needs --net user");
    networks.emplace_back().kind = config::NetworkKind::kUser;
    user = std::prev(networks.end());
  }
  for (const std::string& text : command.published)
    for (const PublishedPort& port : TRY(parse_publish(text).with_context("--publish " + text)))
      user->user.published.push_back(port);
  return {};
}

Result<config::DomainConfig> read_options(const RunCommand& command) {
  config::DomainConfig domain;
  domain.name =
      command.name.empty() ? fmt::format("{}{}", kMadeUpNamePrefix, ::getpid()) : command.name;
  domain.memory_bytes =
      TRY(config::parse_size(command.memory, 1024 * 1024).with_context("--memory"));
  domain.vcpus = domain.vcpus_online = command.vcpus;
  const config::BootOverride boot = TRY(boot_words(command));
  if (boot.kernel && !(command.bios.empty() && command.boot.empty()))
    return fail(ErrorKind::kUsage, "run: --kernel is started without a BIOS: no --bios, no --boot");
  if (boot.kernel)
    config::set_kernel(domain.boot, *boot.kernel);
  else
    TRY(set_bios(command, domain.boot));
  TRY(add_disks(command, domain.disks));
  if (!boot.kernel && domain.disks.empty())
    return fail(ErrorKind::kUsage,
                "run: give a domain XML file, a disk image or --kernel ('hull run --help')");
  if (!boot.kernel && names_image(command)) TRY(check_boot_sector(domain.disks.front()));
  domain.boot.initrd = boot.initrd.value_or("");
  domain.boot.cmdline = boot.cmdline.value_or("");
  // A job that resets is over: nobody is there who would see it boot again and again.
  domain.on_reboot = config::LifecycleAction::kDestroy;
  domain.panic_device = true;  // a job that panics ends at once, with an exit code of its own
  if (command.iothreads > kMaxVirtioDevices)
    return fail(ErrorKind::kUsage, "--iothreads {}: at most {}", command.iothreads,
                kMaxVirtioDevices);
  for (unsigned i = 0; command.iothreads != 0 && i < domain.disks.size(); ++i)
    domain.disks[i].iothread = 1 + i % command.iothreads;
  for (const std::string& text : command.networks)
    if (auto network = TRY(parse_network(text).with_context("--net " + text)))
      domain.networks.push_back(*network);
  TRY(add_published(command, domain.networks));
  if (!command.no_rng) domain.rng = config::RngConfig{};
  return domain;
}

// A document stands alone; everything else is an image.
Result<void> find_document(RunCommand& command) {
  for (const std::string& file : command.images)
    if (TRY(is_document(file))) command.document = file;
  if (command.document.empty()) return {};
  if (command.images.size() > 1)
    return fail(ErrorKind::kUsage, "run: {} is a domain document, which names its own disks",
                command.document);
  command.images.clear();
  return {};
}

}  // namespace

Result<std::string> absolute_path(const std::string& path) {
  std::error_code failed;
  const auto full = std::filesystem::absolute(path, failed);
  if (failed) return fail(ErrorKind::kUsage, "'{}': {}", path, failed.message());
  return full.string();
}

Result<RunCommand> parse_run_command(Arguments arguments) {
  RunCommand command;
  CommandLine app(
      "Runs a virtual machine in the foreground: hull run FILE.xml, hull run disk.qcow2, or hull "
      "run "
      "--kernel K --disk D …",
      "hull run");
  describe_options(app, command);
  command.help_shown = !TRY(app.parse(arguments).with_context("run"));
  if (command.help_shown) return command;
  TRY(find_document(command));
  for (const char* option :
       {"--disk", "--hda", "--hdb", "--hdc", "--hdd", "--cdrom", "--boot", "--bios", "--net",
        "--publish", "--memory", "--vcpus", "--iothreads", "--name", "--no-rng"})
    command.describes_domain = command.describes_domain || app.count(option) != 0;
  return command;
}

Result<config::BootOverride> boot_words(const RunCommand& command) {
  config::BootOverride boot{.kernel = {}, .initrd = {}, .cmdline = command.append};
  if (command.kernel) boot.kernel = TRY(kernel_path(*command.kernel));
  if (command.initrd && !command.initrd->empty())
    boot.initrd = TRY(absolute_path(*command.initrd));
  else
    boot.initrd = command.initrd;
  return boot;
}

Result<config::DomainConfig> domain_from_options(const RunCommand& command) {
  return as_usage(read_options(command));
}

Result<void> set_lifecycle(const RunCommand& command, config::DomainConfig& domain) {
  using config::LifecycleAction;
  const auto action = [](const std::string& word) {
    return word == "destroy"   ? LifecycleAction::kDestroy
           : word == "restart" ? LifecycleAction::kRestart
                               : LifecycleAction::kPreserve;
  };
  if (command.no_reboot && !command.on_reboot.empty() && command.on_reboot != "destroy")
    return fail(ErrorKind::kUsage, "run: --no-reboot and --on-reboot {} contradict each other",
                command.on_reboot);
  if (command.no_reboot) domain.on_reboot = LifecycleAction::kDestroy;
  if (!command.on_reboot.empty()) domain.on_reboot = action(command.on_reboot);
  if (!command.on_crash.empty()) domain.on_crash = action(command.on_crash);
  return {};
}

}  // namespace hull::cli
