#include "config/domain_reader.h"

#include "base/log.h"
#include "config/generated.h"
#include "config/reader_parts.h"
#include "config/validate.h"
#include "config/values.h"

namespace hull::config {

namespace {

const XmlElement& devices_of(const XmlElement& root) {
  static const XmlElement none;
  const XmlElement* devices = root.child("devices");
  return devices == nullptr ? none : *devices;
}

std::vector<const XmlElement*> both(std::vector<const XmlElement*> a,
                                    const std::vector<const XmlElement*>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// The element that a problem of the configuration comes from; the root, if there is none.
const XmlElement& place_of(const Problem& problem, const XmlElement& root,
                           const ConsoleChoice& console,
                           const std::vector<const XmlElement*>& disks) {
  const auto below = [&](const XmlElement* parent, std::string_view name) -> const XmlElement& {
    const XmlElement* child = parent == nullptr ? nullptr : parent->child(name);
    return child != nullptr ? *child : parent != nullptr ? *parent : root;
  };
  const XmlElement* os = root.child("os");
  switch (problem.subject) {
    case Subject::kDomain: return root;
    case Subject::kName: return below(&root, "name");
    case Subject::kUuid: return below(&root, "uuid");
    case Subject::kMemory: return below(&root, "memory");
    case Subject::kVcpus: return below(&root, "vcpu");
    case Subject::kCpu: return below(&root, "cpu");
    case Subject::kKernel: return below(os, "kernel");
    case Subject::kInitrd: return below(os, "initrd");
    case Subject::kCommandLine: return below(os, "cmdline");
    case Subject::kDisk: return *disks.at(problem.index);
    case Subject::kNetwork: return *devices_of(root).children_named("interface").at(problem.index);
    case Subject::kConsole: return console.chosen == nullptr ? root : *console.chosen;
    case Subject::kRng: return below(root.child("devices"), "rng");
    case Subject::kLifecycle: return below(&root, "on_poweroff");
  }
  return root;
}

// The path says "name" already.
std::string_view without_name(std::string_view message, std::string_view name) {
  if (message.starts_with(name) && message.substr(name.size()).starts_with(": "))
    message.remove_prefix(name.size() + 2);
  return message;
}

void apply(const BootOverride& wanted, BootConfig& boot) {
  if (wanted.kernel) {
    boot = {};
    set_kernel(boot, *wanted.kernel);
  }
  if (wanted.initrd) boot.initrd = *wanted.initrd;
  if (wanted.cmdline) boot.cmdline = *wanted.cmdline;
}

}  // namespace

Error DomainReading::refusal(std::string_view source) const {
  std::vector<std::string> problems;
  for (const Finding& finding : refusals) problems.push_back(finding.text_in(source));
  return Error::list(ErrorKind::kInvalidConfig, problems);
}

Result<DomainReading> read_domain(std::string_view text, std::string_view source_name,
                                  const ReadOptions& options) {
  const std::unique_ptr<XmlElement> root = TRY(parse_xml(text, source_name));
  if (!root->name.plain("domain"))
    return fail(ErrorKind::kInvalidConfig, "{}:{}:{}: <{}> is not a <domain>{}", source_name,
                root->line, root->column, printable(root->name.display()),
                root->name.local == "domain" ? " of libvirt's (which has no namespace)" : "");
  const XmlElement& devices = devices_of(*root);
  const ConsoleChoice console = choose_console(&devices);
  DomainReading reading;
  Findings findings(options);

  judge(*root, both(console.mirrors, console.extra), findings);
  check_values(*root, findings);
  read_general(*root, reading.config, findings);
  apply(options.boot, reading.config.boot);
  read_lifecycle(*root, reading.config, findings);
  read_cpu(*root, reading.config, findings);
  std::vector<const XmlElement*> disks;
  read_disks(*root, reading.config, disks, findings);
  read_interfaces(devices, reading.config, findings);
  read_console(console, reading.config, findings);
  read_small_devices(devices, reading.config, findings);
  for (const Problem& problem : validate(reading.config)) {
    const XmlElement& place = place_of(problem, *root, console, disks);
    findings.invalid(place, {}, without_name(problem.message, place.name.local));
  }
  findings.finish();

  reading.warnings = findings.take_warnings();
  reading.refusals = findings.take_refusals();
  if (reading.accepted()) TRY(fill_generated(reading.config));
  return reading;
}

}  // namespace hull::config
