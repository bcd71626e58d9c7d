// Feature names as libvirt writes them in <feature policy='disable' name='…'/>, and where their
// bits are. Names that are not here are refused, because a mask that silently does nothing would be
// worse.
#include "vmm/x86/cpuid.h"

namespace hull::vmm::x86 {

namespace {

enum class Register : uint8_t { kEax, kEbx, kEcx, kEdx };

struct Feature {
  std::string_view name;
  uint32_t function;
  uint32_t index;
  Register reg;
  uint8_t bit;
};

using enum Register;
constexpr Feature kFeatures[] = {
    {"pclmuldq", 1, 0, kEcx, 1},
    {"monitor", 1, 0, kEcx, 3},
    {"vmx", 1, 0, kEcx, 5},
    {"ssse3", 1, 0, kEcx, 9},
    {"fma", 1, 0, kEcx, 12},
    {"cx16", 1, 0, kEcx, 13},
    {"pcid", 1, 0, kEcx, 17},
    {"sse4.1", 1, 0, kEcx, 19},
    {"sse4.2", 1, 0, kEcx, 20},
    {"x2apic", 1, 0, kEcx, 21},
    {"movbe", 1, 0, kEcx, 22},
    {"popcnt", 1, 0, kEcx, 23},
    {"tsc-deadline", 1, 0, kEcx, 24},
    {"aes", 1, 0, kEcx, 25},
    {"xsave", 1, 0, kEcx, 26},
    {"avx", 1, 0, kEcx, 28},
    {"f16c", 1, 0, kEcx, 29},
    {"rdrand", 1, 0, kEcx, 30},
    {"hypervisor", 1, 0, kEcx, 31},
    {"fsgsbase", 7, 0, kEbx, 0},
    {"tsc_adjust", 7, 0, kEbx, 1},
    {"bmi1", 7, 0, kEbx, 3},
    {"hle", 7, 0, kEbx, 4},
    {"avx2", 7, 0, kEbx, 5},
    {"smep", 7, 0, kEbx, 7},
    {"bmi2", 7, 0, kEbx, 8},
    {"erms", 7, 0, kEbx, 9},
    {"invpcid", 7, 0, kEbx, 10},
    {"rtm", 7, 0, kEbx, 11},
    {"mpx", 7, 0, kEbx, 14},
    {"avx512f", 7, 0, kEbx, 16},
    {"avx512dq", 7, 0, kEbx, 17},
    {"rdseed", 7, 0, kEbx, 18},
    {"adx", 7, 0, kEbx, 19},
    {"smap", 7, 0, kEbx, 20},
    {"clflushopt", 7, 0, kEbx, 23},
    {"clwb", 7, 0, kEbx, 24},
    {"avx512cd", 7, 0, kEbx, 28},
    {"sha-ni", 7, 0, kEbx, 29},
    {"avx512bw", 7, 0, kEbx, 30},
    {"avx512vl", 7, 0, kEbx, 31},
    {"umip", 7, 0, kEcx, 2},
    {"pku", 7, 0, kEcx, 3},
    {"la57", 7, 0, kEcx, 16},
    {"rdpid", 7, 0, kEcx, 22},
    {"amx-bf16", 7, 0, kEdx, 22},
    {"amx-tile", 7, 0, kEdx, 24},
    {"amx-int8", 7, 0, kEdx, 25},
    {"spec-ctrl", 7, 0, kEdx, 26},
    {"stibp", 7, 0, kEdx, 27},
    {"arch-capabilities", 7, 0, kEdx, 29},
    {"ssbd", 7, 0, kEdx, 31},
    {"lahf_lm", 0x80000001, 0, kEcx, 0},
    {"svm", 0x80000001, 0, kEcx, 2},
    {"abm", 0x80000001, 0, kEcx, 5},
    {"sse4a", 0x80000001, 0, kEcx, 6},
    {"topoext", 0x80000001, 0, kEcx, 22},
    {"nx", 0x80000001, 0, kEdx, 20},
    {"pdpe1gb", 0x80000001, 0, kEdx, 26},
    {"rdtscp", 0x80000001, 0, kEdx, 27},
    {"invtsc", 0x80000007, 0, kEdx, 8},
};

uint32_t& register_of(kvm_cpuid_entry2& entry, Register reg) {
  switch (reg) {
    case kEax: return entry.eax;
    case kEbx: return entry.ebx;
    case kEcx: return entry.ecx;
    case kEdx: break;
  }
  return entry.edx;
}

const Feature* find_feature(std::string_view name) {
  for (const Feature& feature : kFeatures)
    if (feature.name == name) return &feature;
  return nullptr;
}

}  // namespace

Result<void> disable_features(CpuidTable& table, std::span<const std::string> names) {
  for (const std::string& name : names) {
    const Feature* feature = find_feature(name);
    if (feature == nullptr)
      return fail(ErrorKind::kInvalidConfig, "CPU feature '{}': not known, cannot be disabled",
                  name);
    kvm_cpuid_entry2* entry = table.find(feature->function, feature->index);
    if (entry != nullptr) register_of(*entry, feature->reg) &= ~(1u << feature->bit);
  }
  return {};
}

}  // namespace hull::vmm::x86
