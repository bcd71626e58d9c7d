#include "vmm/x86/cpuid_features.h"

#include <algorithm>

#include "base/log.h"
#include "base/x86_cpu_features.h"

namespace hull::vmm::x86 {

namespace {

using Place = X86CpuFeature::Place;

constexpr uint32_t kPerformanceMonitoring = 0xa;       // Intel
constexpr uint32_t kExtendedPerformance = 0x80000022;  // AMD
constexpr uint32_t kSvmLeaf = 0x8000000a;
// AMD's processors repeat these bits of leaf 1, EDX, in leaf 0x80000001, EDX.
constexpr uint32_t kRepeatedByAmd = 0x0183f3ff;

uint32_t* register_of(kvm_cpuid_entry2& entry, Place place) {
  switch (place) {
    case Place::kEax: return &entry.eax;
    case Place::kEbx: return &entry.ebx;
    case Place::kEcx: return &entry.ecx;
    case Place::kEdx: return &entry.edx;
    case Place::kMsr: break;
  }
  return nullptr;
}

// A detail of VMX is there if VMX is.
Result<const X86CpuFeature*> find_feature(const std::string& name) {
  if (is_x86_vmx_detail(name)) return find_x86_cpu_feature("vmx");
  if (const X86CpuFeature* feature = find_x86_cpu_feature(name)) return feature;
  return fail(ErrorKind::kInvalidConfig, "CPU feature '{}': there is none of this name", name);
}

void clear(CpuidTable& table, const X86CpuFeature& feature) {
  kvm_cpuid_entry2* entry = table.find(feature.leaf, feature.subleaf);
  if (entry == nullptr) return;
  const uint32_t bit = 1u << feature.bit;
  if (uint32_t* value = register_of(*entry, feature.place)) *value &= ~bit;
  kvm_cpuid_entry2* extended = table.find(0x80000001);
  if (feature.leaf == 1 && feature.place == Place::kEdx && extended != nullptr)
    extended->edx &= ~(bit & kRepeatedByAmd);
}

void clear(CpuidTable& table, std::string_view name) {
  const X86CpuFeature* feature = find_x86_cpu_feature(name);
  CHECK(feature != nullptr);
  clear(table, *feature);
}

void clear_leaf(CpuidTable& table, uint32_t function) {
  for (kvm_cpuid_entry2& entry : table.entries())
    if (entry.function == function) entry.eax = entry.ebx = entry.ecx = entry.edx = 0;
}

// A feature that stands in an MSR counts as there if the MSR is: the guest reads the rest itself.
bool has(CpuidTable table, const X86CpuFeature& feature) {
  if (feature.place == Place::kMsr) return true;
  kvm_cpuid_entry2* entry = table.find(feature.leaf, feature.subleaf);
  return entry != nullptr && (*register_of(*entry, feature.place) & 1u << feature.bit) != 0;
}

}  // namespace

kvm_cpuid_entry2 host_cpuid(uint32_t function) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  uint32_t eax = function, ebx = 0, ecx = 0, edx = 0;
  asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
  entry.eax = eax;
  entry.ebx = ebx;
  entry.ecx = ecx;
  entry.edx = edx;
  return entry;
}

Result<void> check_required(const CpuidTable& table, std::span<const std::string> names) {
  std::string missing;
  for (const std::string& name : names)
    if (!has(table, *TRY(find_feature(name))))
      missing += fmt::format("{}'{}'", missing.empty() ? "" : ", ", name);
  if (missing.empty()) return {};
  return fail(ErrorKind::kHost,
              "this host's KVM does not have CPU feature {}, which the domain requires", missing);
}

void hide_by_default(CpuidTable& table, const CpuModel& model) {
  const auto wanted = [&model](std::string_view name) {
    return std::ranges::find(model.required, name) != model.required.end();
  };
  if (!wanted("vmx")) clear(table, "vmx");
  if (!wanted("svm")) {
    clear(table, "svm");
    clear_leaf(table, kSvmLeaf);
  }
  if (model.pmu) return;
  clear_leaf(table, kPerformanceMonitoring);
  clear_leaf(table, kExtendedPerformance);
  for (const char* name : {"pdcm", "perfctr_core", "perfctr_nb"}) clear(table, name);
}

Result<void> hide_features(CpuidTable& table, std::span<const std::string> names) {
  for (const std::string& name : names) {
    const X86CpuFeature* feature = TRY(find_feature(name));
    if (!is_x86_vmx_detail(name))
      clear(table, *feature);
    else if (has(table, *feature))
      LOG_WARN("CPU feature '{}' stays visible: hull shows VMX whole or not at all", name);
  }
  return {};
}

Result<void> hide_msr_features(Vcpu& vcpu, std::span<const std::string> disabled) {
  for (const std::string& name : disabled) {
    const X86CpuFeature* feature = find_x86_cpu_feature(name);
    if (feature == nullptr || feature->place != Place::kMsr) continue;
    const std::optional<uint64_t> value = TRY(get_msr(vcpu, feature->leaf));
    const uint64_t bit = uint64_t{1} << feature->bit;
    if (!value || (*value & bit) == 0) continue;  // the guest does not see it anyway
    if (!TRY(set_msr(vcpu, feature->leaf, *value & ~bit)) && vcpu.index() == 0)
      LOG_WARN("CPU feature '{}' stays visible: this host's KVM refuses to change MSR {:#x}", name,
               feature->leaf);
  }
  return {};
}

}  // namespace hull::vmm::x86
