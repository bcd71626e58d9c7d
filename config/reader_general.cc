// Identity, memory, vCPUs, boot, clock: what stands directly below <domain>.
#include "base/checked.h"
#include "config/reader_parts.h"
#include "config/validate.h"
#include "config/values.h"

namespace hull::config {

namespace {

constexpr uint64_t kHugePageBytes = uint64_t{2} << 20;

void read_identity(const XmlElement& root, DomainConfig& config, Findings& findings) {
  if (root.attribute("type") == nullptr) findings.invalid(root, {}, "has no type (type='kvm')");
  // Verbatim, as libvirt takes it: white space in a name is the user's.
  if (const XmlElement* name = root.child("name")) config.name = name->text;
  if (const XmlElement* uuid = root.child("uuid"); uuid && !uuid->trimmed_text().empty()) {
    if (auto canonical = parse_uuid(uuid->trimmed_text()))
      config.uuid = *std::move(canonical);
    else
      findings.invalid(*uuid, {}, canonical.error().message());
  }
}

void read_current_memory(const XmlElement& root, uint64_t memory, Findings& findings) {
  const XmlElement* current = root.child("currentMemory");
  if (current == nullptr) return;
  const auto bytes = read_memory_size(*current, {}, findings);
  if (!bytes) return;
  // More than there is means all of it, as in libvirt.
  if (*bytes < memory) findings.report_computed(*current, {}, "~less than memory");
}

void read_memory(const XmlElement& root, DomainConfig& config, Findings& findings) {
  const XmlElement* memory = root.child("memory");
  const auto cells = numa_memory(root, findings);
  if (memory == nullptr && !cells) return;  // validate() misses it
  const auto bytes = cells ? cells : read_memory_size(*memory, {}, findings);
  // A size that cannot be read has its finding; this one only keeps others from following.
  config.memory_bytes = kMinMemoryBytes;
  if (bytes && *bytes >= kMinMemoryBytes && *bytes <= kMaxMemoryBytes)
    config.memory_bytes = align_up(*bytes, kMemoryGranularity);
  else if (bytes)
    config.memory_bytes = *bytes;
  if (memory != nullptr) config.dump_guest_core = memory->value("dumpCore") != "off";
  if (bytes) read_current_memory(root, *bytes, findings);
}

void check_huge_page(const XmlElement& page, Findings& findings) {
  if (page.attribute("size") == nullptr) return;
  const auto bytes = read_memory_size(page, "size", findings);
  if (bytes && *bytes != kHugePageBytes)
    findings.report_computed(page, {}, "~size other than 2 MiB");
}

void read_memory_backing(const XmlElement& root, DomainConfig& config, Findings& findings) {
  const XmlElement* backing = root.child("memoryBacking");
  if (backing == nullptr) return;
  config.memory_locked = backing->child("locked") != nullptr;
  const XmlElement* hugepages = backing->child("hugepages");
  if (hugepages == nullptr) return;
  config.memory_hugepages = true;
  for (const XmlElement* page : hugepages->children_named("page")) check_huge_page(*page, findings);
}

void read_vcpus(const XmlElement& root, DomainConfig& config, Findings& findings) {
  const XmlElement* vcpu = root.child("vcpu");
  if (vcpu == nullptr) return;
  const std::string_view text = vcpu->trimmed_text();
  const auto number = text.empty() ? std::optional<uint64_t>(1) : parse_document_number(text);
  if (!number || *number < 1 || *number > kMaxVcpus)
    return findings.invalid(*vcpu, {},
                            fmt::format("is not a number of vCPUs in 1 to {}", kMaxVcpus));
  config.vcpus = static_cast<unsigned>(*number);
  const auto current = read_number(*vcpu, "current", 1, *number, findings);
  config.vcpus_online = static_cast<unsigned>(current.value_or(*number));
}

bool configures_ignition(const XmlElement& sysinfo) {
  for (const XmlElement* entry : sysinfo.children_named("entry")) {
    const std::string_view name = entry->value("name");
    if (name.starts_with("opt/com.coreos") || name.starts_with("opt/ignition")) return true;
  }
  return false;
}

void check_system_uuid(const XmlElement& entry, const DomainConfig& config, Findings& findings) {
  if (entry.value("name") != "uuid") return;
  const auto uuid = parse_uuid(entry.trimmed_text());
  if (!uuid)
    findings.invalid(entry, {}, uuid.error().message());
  else if (!config.uuid.empty() && *uuid != config.uuid)
    findings.invalid(entry, {}, "differs from <uuid>");
}

void read_sysinfo(const XmlElement& root, const DomainConfig& config, Findings& findings) {
  for (const XmlElement* sysinfo : root.children_named("sysinfo")) {
    if (sysinfo->value("type") == "fwcfg" && configures_ignition(*sysinfo))
      findings.report_computed(*sysinfo, {}, "~firmware configuration for ignition");
    if (const XmlElement* system = sysinfo->child("system"))
      for (const XmlElement* entry : system->children_named("entry"))
        check_system_uuid(*entry, config, findings);
  }
}

void read_clock(const XmlElement& root, DomainConfig& config, Findings& findings) {
  const XmlElement* clock = root.child("clock");
  if (clock == nullptr) return;
  config.clock = read_clock_start(*clock, findings);
  for (const XmlElement* timer : clock->children_named("timer")) {
    if (timer->value("name") == "kvmclock" && timer->value("present") == "no")
      findings.report_computed(*timer, {}, "~kvmclock absent");
    if (timer->value("name") == "tsc" && timer->attribute("frequency") != nullptr)
      findings.report_computed(*timer, {}, "~TSC frequency");
  }
}

}  // namespace

void read_general(const XmlElement& root, DomainConfig& config, Findings& findings) {
  read_identity(root, config, findings);
  read_memory(root, config, findings);
  read_memory_backing(root, config, findings);
  read_vcpus(root, config, findings);
  check_numa(root, config.vcpus, findings);
  read_boot(root, config.boot, findings);
  read_sysinfo(root, config, findings);
  read_clock(root, config, findings);
}

}  // namespace hull::config
