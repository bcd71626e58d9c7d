#include "config/domain_reader.h"

#include "config/generated.h"
#include "config/reader_parts.h"
#include "config/validate.h"

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

}  // namespace

Error DomainReading::refusal() const {
  const std::string prefix = check_domain_name(config.name) ? config.name + ": " : "";
  std::string all;
  for (const Finding& finding : refusals)
    all += fmt::format("{}{}{}", all.empty() ? "" : "\n", prefix, finding.text());
  return Error(ErrorKind::kInvalidConfig, std::move(all));
}

Result<DomainReading> read_domain(std::string_view text, std::string_view source_name,
                                  const ReadOptions& options) {
  const std::unique_ptr<XmlElement> root = TRY(parse_xml(text, source_name));
  if (!root->name.plain("domain"))
    return fail(ErrorKind::kInvalidConfig, "{}:{}:{}: <{}> is not a <domain>", source_name,
                root->line, root->column, root->name.display());
  const XmlElement& devices = devices_of(*root);
  const ConsoleChoice console = choose_console(&devices);
  DomainReading reading;
  Findings findings(options);

  judge(*root, both(console.mirrors, console.extra), findings);
  read_general(*root, reading.config, findings);
  read_lifecycle(*root, reading.config, findings);
  read_cpu(*root, reading.config, findings);
  read_disks(*root, reading.config, findings);
  read_interfaces(devices, reading.config, findings);
  read_console(console, reading.config, findings);
  read_small_devices(devices, reading.config, findings);
  for (std::string& problem : validate(reading.config)) findings.problem(std::move(problem));
  findings.check_ignored();

  reading.warnings = findings.take_warnings();
  reading.refusals = findings.take_refusals();
  if (reading.accepted()) TRY(fill_generated(reading.config));
  return reading;
}

}  // namespace hull::config
