#include "tools/hull/run_options.h"

#include <filesystem>

#include "config/network_source.h"
#include "config/values.h"
#include "tools/hull/command_line.h"
#include "tools/hull/run_secrets.h"
#include "tools/hull/suboptions.h"

namespace hull::cli {

namespace {

std::string target_name(size_t index) {
  std::string letters;
  for (size_t rest = index + 1; rest > 0; rest = (rest - 1) / 26)
    letters.insert(letters.begin(), static_cast<char>('a' + (rest - 1) % 26));
  return "vd" + letters;
}

Result<config::DiskConfig> parse_disk(const std::string& text, size_t index) {
  config::DiskConfig disk;
  disk.target = target_name(index);
  std::vector<EncryptWords> encryption;
  for (const Suboption& option : TRY(parse_suboptions(text, "file"))) {
    if (option.key == "file" || option.key == "path")
      disk.file =
          config::is_nbd_url(option.value) ? option.value : TRY(absolute_path(option.value));
    else if (option.key == "format")
      disk.format = TRY(config::parse_disk_format(option.value));
    else if (option.key == "readonly")
      disk.read_only = TRY(parse_switch(option));
    else if (option.key == "serial")
      disk.serial = option.value;
    else if (option.key == "cache")
      disk.cache = TRY(config::parse_cache_mode(option.value));
    else if (option.key == "discard")
      disk.discard = TRY(config::parse_discard(option.value));
    else if (option.key == "l2-cache-size")
      disk.metadata_cache_bytes = TRY(config::parse_size(option.value));
    else if (option.key == "target")
      disk.target = option.value;
    else if (!TRY(take_encrypt_option(option, encryption)))
      return fail(ErrorKind::kUsage, "--disk {}: there is no '{}='", text, option.key);
  }
  TRY(set_encryption(encryption, disk));
  if (disk.file.empty()) return fail(ErrorKind::kUsage, "--disk {}: which file?", text);
  return disk;
}

Result<std::optional<config::NetworkConfig>> parse_network(const std::string& text) {
  config::NetworkConfig network;
  for (const Suboption& option : TRY(parse_suboptions(text, "kind"))) {
    if (option.key == "kind" && option.value == "none")
      return std::optional<config::NetworkConfig>();
    if (option.key == "kind" && option.value == "tap")
      network.kind = config::NetworkKind::kTap;
    else if (option.key == "kind" && option.value == "null")
      network.kind = config::NetworkKind::kNull;
    else if (option.key == "ifname")
      network.ifname = option.value;
    else if (option.key == "mac")
      network.mac = TRY(config::parse_mac(option.value));
    else if (option.key == "bridge") {
      network.kind = config::NetworkKind::kBridge;
      network.bridge = option.value;
    } else if (option.key == "mtu") {
      const uint64_t mtu = TRY(config::parse_size(option.value, 1));
      if (mtu < 68 || mtu > 65535)
        return fail(ErrorKind::kUsage, "--net {}: mtu is 68 to 65535", text);
      network.mtu = static_cast<uint16_t>(mtu);
    } else
      return fail(ErrorKind::kUsage,
                  "--net {}: '{}{}{}' is not known (none, tap, null; ifname=, mac=, mtu=, bridge=)",
                  text, option.key == "kind" ? "" : option.key, option.key == "kind" ? "" : "=",
                  option.value);
  }
  return std::optional(network);
}

void describe_options(CommandLine& app, RunCommand& command) {
  app.add_option("FILE", command.document, "domain XML, '-' for standard input");
  app.add_option("--kernel", command.kernel,
                 "bzImage or ELF with a PVH note; 'hull:guest' is hull's own small guest");
  app.add_option("--initrd", command.initrd, "initial RAM disk");
  app.add_option("--append", command.append, "kernel command line, passed as it is");
  app.add_option("--disk", command.disks,
                 "FILE|NBD-URL[,format=raw|qcow2][,readonly=on][,serial=S][,discard=unmap]"
                 "[,cache=none|writeback|writethrough|directsync|unsafe][,l2-cache-size=SIZE]"
                 "[,[backing.]encrypt.key-secret=ID]; may be repeated");
  app.add_option("--net", command.networks,
                 "none | tap[,ifname=IF][,bridge=BR][,mac=MAC][,mtu=N]; may be repeated");
  app.add_option("--memory", command.memory, "size, MiB without a suffix (default 512M)");
  app.add_option("--vcpus", command.vcpus, "virtual processors (default 1)");
  app.add_option("--name", command.name, "name of the domain (default: hull-PID)");
  app.add_flag("--no-rng", command.no_rng, "no virtio random number device");
  app.add_flag("--ephemeral", command.ephemeral,
               "write all disks to throw-away overlays that leave nothing behind");
  app.add_flag("--strict", command.strict, "refuse what would be a warning");
  app.add_option("--ignore", command.ignore, "turn a refusal at this XPath into a warning");
  app.add_option("--secret", command.secrets,
                 "ID=file:PATH | ID=fd:N: what opens encrypted images; may be repeated");
  app.add_option("--console", command.console,
                 "stdio | file:PATH | pty | unix:PATH | null (Ctrl-] ends a stdio session)");
  app.add_option("--root", command.root, "keep all of hull's files below this directory");
  app.add_option("--layout", command.layout, "hull (default) or libvirt: whose directories to use");
  app.add_option("--timeout", command.timeout_seconds,
                 "switch off after this many seconds (exit 124)");
  app.add_option("--grace", command.grace_seconds,
                 "seconds between the power button (SIGTERM) and switching off (default 10)");
  app.add_option("--dump-dtb", command.dump_dtb,
                 "write the device tree to this file and do not run");
  app.add_flag("--debug-exit", command.debug_exit,
               "give test guests a port that ends hull with a code");
  app.add_flag("--debug", command.debug, "say more on standard error");
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
      "Runs a virtual machine in the foreground: hull run FILE.xml, or hull run --kernel K --disk "
      "D …",
      "hull run");
  describe_options(app, command);
  command.help_shown = !TRY(app.parse(arguments).with_context("run"));
  for (const char* option : {"--kernel", "--initrd", "--append", "--disk", "--net", "--memory",
                             "--vcpus", "--name", "--no-rng"})
    command.describes_domain = command.describes_domain || app.count(option) != 0;
  return command;
}

std::vector<std::string> run_words() {
  RunCommand command;
  CommandLine app;
  describe_options(app, command);
  return app.long_names();
}

Result<config::ConsoleConfig> parse_console(const std::string& text) {
  config::ConsoleConfig console;
  const size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  const std::string path = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (kind == "stdio" || kind == "pty" || kind == "null") {
    if (colon != std::string::npos)
      return fail(ErrorKind::kUsage, "--console {}: takes no path", kind);
    console.kind = kind == "stdio" ? config::ConsoleKind::kStdio
                   : kind == "pty" ? config::ConsoleKind::kPty
                                   : config::ConsoleKind::kNull;
    return console;
  }
  if (kind != "file" && kind != "unix")
    return fail(ErrorKind::kUsage, "--console {}: stdio, file:PATH, pty, unix:PATH or null", text);
  if (path.empty()) return fail(ErrorKind::kUsage, "--console {}: which path?", text);
  console.kind = kind == "file" ? config::ConsoleKind::kFile : config::ConsoleKind::kUnix;
  console.path = TRY(absolute_path(path));
  return console;
}

Result<config::DomainConfig> domain_from_options(const RunCommand& command) {
  config::DomainConfig domain;
  domain.name = command.name.empty() ? fmt::format("hull-{}", ::getpid()) : command.name;
  domain.memory_bytes =
      TRY(config::parse_size(command.memory, 1024 * 1024).with_context("--memory"));
  domain.vcpus = domain.vcpus_online = command.vcpus;
  if (command.kernel.empty())
    return fail(ErrorKind::kUsage, "run: give a domain XML file or --kernel ('hull run --help')");
  const bool builtin = command.kernel == config::kBuiltinGuestKernel;
  config::set_kernel(domain.boot, builtin ? command.kernel : TRY(absolute_path(command.kernel)));
  if (!command.initrd.empty()) domain.boot.initrd = TRY(absolute_path(command.initrd));
  domain.boot.cmdline = command.append;
  domain.panic_device = true;  // a job that panics ends at once, with an exit code of its own
  for (const std::string& disk : command.disks)
    domain.disks.push_back(TRY(parse_disk(disk, domain.disks.size())));
  for (const std::string& text : command.networks)
    if (auto network = TRY(parse_network(text))) domain.networks.push_back(*network);
  if (!command.no_rng) domain.rng = config::RngConfig{};
  return domain;
}

}  // namespace hull::cli
