// <cpu>: the guest gets the host's CPU; what asks for another is reported.
#include "base/checked.h"
#include "base/x86_cpu_features.h"
#include "config/reader_parts.h"
#include "config/validate.h"
#include "config/values.h"

namespace hull::config {

namespace {

constexpr size_t kMaxFeatureNameBytes = 64;

void check_model(const XmlElement& cpu, Findings& findings) {
  const XmlElement* model = cpu.child("model");
  const std::string_view mode = cpu.value("mode", "custom");
  if (mode != "custom") return;
  if (model != nullptr && !model->trimmed_text().empty())
    findings.report_computed(*model, {}, "~custom",
                             fmt::format("not '{}'", model->trimmed_text().substr(0, 64)));
  if (cpu.value("check") == "full")
    findings.report_computed(cpu, {}, "~full check of a custom model");
}

bool is_feature_name(std::string_view name) {
  return name.size() <= kMaxFeatureNameBytes &&
         (find_x86_cpu_feature(name) != nullptr || is_x86_vmx_detail(name));
}

void read_features(const XmlElement& cpu, DomainConfig& config, Findings& findings) {
  for (const XmlElement* feature : cpu.children_named("feature")) {
    const std::string_view name = feature->value("name");
    const std::string_view policy = feature->value("policy", "require");
    if (policy == "optional" && !name.empty()) continue;  // there if the host has it
    if (!is_feature_name(name))
      findings.invalid(*feature, "name", "is not the name of a CPU feature");
    else if (policy == "disable")
      config.disabled_cpu_features.emplace_back(name);
    else if (policy == "require" || policy == "force")
      config.required_cpu_features.emplace_back(name);
  }
}

void check_topology(const XmlElement& cpu, const DomainConfig& config, Findings& findings) {
  const XmlElement* topology = cpu.child("topology");
  if (topology == nullptr) return;
  uint64_t product = 1;
  bool single_socket = true;
  for (const std::string_view level : {"sockets", "dies", "clusters", "cores", "threads"}) {
    const uint64_t count = read_number(*topology, level, 1, kMaxVcpus, findings).value_or(1);
    if (level != "cores" && count != 1) single_socket = false;
    product = checked_multiply(product, count).value_or(UINT64_MAX);
  }
  if (product != config.vcpus)
    findings.invalid(*topology, {},
                     fmt::format("describes {} vCPUs, <vcpu> says {}", product, config.vcpus));
  else if (!single_socket)
    findings.report_computed(*topology, {}, "~other than cores of one socket");
}

const XmlElement* numa_of(const XmlElement& root) {
  const XmlElement* cpu = root.child("cpu");
  return cpu == nullptr ? nullptr : cpu->child("numa");
}

}  // namespace

std::optional<uint64_t> numa_memory(const XmlElement& root, Findings& findings) {
  const XmlElement* numa = numa_of(root);
  if (numa == nullptr) return std::nullopt;
  uint64_t total = 0;
  bool complete = true;
  const auto cells = numa->children_named("cell");
  for (const XmlElement* cell : cells) {
    if (cell->attribute("memory") == nullptr) {
      findings.invalid(*cell, {}, "has no memory");
      complete = false;
      continue;
    }
    const auto bytes = read_memory_size(*cell, "memory", findings);
    total = checked_add(total, bytes.value_or(0)).value_or(UINT64_MAX);
  }
  return cells.empty() || !complete ? std::nullopt : std::optional(total);
}

void check_numa(const XmlElement& root, unsigned vcpus, Findings& findings) {
  const XmlElement* numa = numa_of(root);
  if (numa == nullptr) return;
  const auto cells = numa->children_named("cell");
  if (cells.size() > 1) return findings.report_computed(*numa, {}, "~more than one cell");
  for (const XmlElement* cell : cells) {
    if (const auto id = read_number(*cell, "id", 0, UINT32_MAX, findings); id.value_or(0) != 0)
      findings.invalid(*cell, "id", "the only cell has to be number 0");
    const std::string* cpus = cell->attribute("cpus");
    const auto highest = cpus == nullptr ? std::nullopt : highest_cpu(*cpus);
    if (cpus != nullptr && !highest)
      findings.invalid(*cell, "cpus", "is not a list of CPUs such as 0-3,^2");
    else if (highest && *highest >= vcpus)
      findings.invalid(*cell, "cpus", fmt::format("there are {} vCPUs only", vcpus));
  }
}

void read_cpu(const XmlElement& root, DomainConfig& config, Findings& findings) {
  const XmlElement* hypervisor = root.child("features");
  const XmlElement* pmu = hypervisor == nullptr ? nullptr : hypervisor->child("pmu");
  config.pmu = pmu != nullptr && pmu->value("state", "on") == "on";
  const XmlElement* cpu = root.child("cpu");
  if (cpu == nullptr) return;
  check_model(*cpu, findings);
  read_features(*cpu, config, findings);
  check_topology(*cpu, config, findings);
}

}  // namespace hull::config
