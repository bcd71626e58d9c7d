// Leaves and bits: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E.
#include "vmm/x86/cpuid.h"

#include <algorithm>
#include <bit>

#include "vmm/x86/cpuid_features.h"

namespace hull::vmm::x86 {

namespace {

constexpr uint32_t kLeaf1EcxTscDeadline = 1u << 24;
constexpr uint32_t kLeaf1EcxHypervisor = 1u << 31;
constexpr uint32_t kLeaf1EdxHtt = 1u << 28;
constexpr uint32_t kTopologyLeaves[] = {0xb, 0x1f};

// Bits of the APIC id that number the cores of the package.
uint32_t core_id_bits(unsigned vcpus) { return static_cast<uint32_t>(std::bit_width(vcpus - 1)); }

void set_field(uint32_t& value, unsigned shift, unsigned width, uint32_t field) {
  const uint32_t mask = ((1u << width) - 1) << shift;
  value = (value & ~mask) | ((field << shift) & mask);
}

void patch_leaf_1(kvm_cpuid_entry2& leaf, const CpuModel& model) {
  // Addressable ids in the package: a power of two, at most 255 fits.
  set_field(leaf.ebx, 16, 8, std::min(1u << core_id_bits(model.vcpus), 255u));
  leaf.ecx |= kLeaf1EcxHypervisor;
  if (model.tsc_deadline_timer) leaf.ecx |= kLeaf1EcxTscDeadline;
  if (model.vcpus > 1) leaf.edx |= kLeaf1EdxHtt;
}

// Leaf 4 (Intel) and 0x8000001d (AMD) have the same layout: EAX[25:14] ids that share the cache,
// EAX[31:26] cores in the package (Intel only), each minus one.
void patch_cache_leaf(kvm_cpuid_entry2& leaf, unsigned vcpus) {
  if ((leaf.eax & 0x1f) == 0) return;  // no more caches
  const uint32_t level = (leaf.eax >> 5) & 7;
  const uint32_t ids = 1u << core_id_bits(vcpus);
  set_field(leaf.eax, 14, 12, level >= 3 ? ids - 1 : 0);
  if (leaf.function == 4) set_field(leaf.eax, 26, 6, std::min(ids - 1, 63u));
}

void patch_amd_leaves(CpuidTable& table, unsigned vcpus) {
  if (kvm_cpuid_entry2* leaf = table.find(0x80000008)) {
    set_field(leaf->ecx, 0, 8, std::min(vcpus - 1, 255u));  // NC
    set_field(leaf->ecx, 12, 4, core_id_bits(vcpus));       // ApicIdSize
  }
  if (kvm_cpuid_entry2* leaf = table.find(0x8000001e)) leaf->ecx = 0;  // one node
}

Result<void> append(CpuidTable& table, const kvm_cpuid_entry2& entry) {
  if (table.append(entry)) return {};
  return fail(ErrorKind::kHost, "this host's KVM has more than {} CPUID entries",
              CpuidTable::kMaxEntries - 16);
}

// Leaves 0xB and 0x1F: thread level, core level, end.
Result<void> replace_topology_leaf(CpuidTable& table, uint32_t function, unsigned vcpus) {
  table.remove(function);
  kvm_cpuid_entry2 level{};
  level.function = function;
  level.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  const uint32_t shifts[] = {0, core_id_bits(vcpus), 0};
  const uint32_t counts[] = {1, vcpus, 0};
  for (uint32_t i = 0; i < 3; ++i) {
    level.index = i;
    level.eax = shifts[i];
    level.ebx = counts[i];
    level.ecx = i | (i < 2 ? (i + 1) << 8 : 0);  // type 1 thread, 2 core, 0 end
    TRY(append(table, level));
  }
  return {};
}

// KVM leaves the three leaves of the processor's name empty. Software tunes itself by it, counts
// licences by it and shows it to people.
Result<void> copy_brand_string(CpuidTable& table) {
  constexpr uint32_t kHighestExtendedLeaf = 0x80000000, kFirst = 0x80000002, kLast = 0x80000004;
  const kvm_cpuid_entry2* highest = table.find(kHighestExtendedLeaf);
  if (highest == nullptr || highest->eax < kLast) return {};
  for (uint32_t function = kFirst; function <= kLast; ++function) {
    kvm_cpuid_entry2 leaf = host_cpuid(function);
    table.remove(function);
    TRY(append(table, leaf));
  }
  return {};
}

}  // namespace

Result<CpuidTable> cpuid_for_machine(const CpuidTable& supported, const CpuModel& model) {
  CpuidTable table = supported;
  for (kvm_cpuid_entry2& entry : table.entries()) {
    if (entry.function == 1) patch_leaf_1(entry, model);
    if (entry.function == 4 || entry.function == 0x8000001d) patch_cache_leaf(entry, model.vcpus);
  }
  patch_amd_leaves(table, model.vcpus);
  const uint32_t highest = table.entries().empty() ? 0 : table.entries()[0].eax;
  for (const uint32_t function : kTopologyLeaves)
    if (highest >= function) TRY(replace_topology_leaf(table, function, model.vcpus));
  TRY(copy_brand_string(table));
  TRY(check_required(table, model.required));
  hide_by_default(table, model);
  TRY(hide_features(table, model.disabled));
  return table;
}

CpuidTable cpuid_for_vcpu(const CpuidTable& machine, unsigned index) {
  CpuidTable table = machine;
  for (kvm_cpuid_entry2& entry : table.entries()) {
    if (entry.function == 1) set_field(entry.ebx, 24, 8, index);
    if (std::ranges::find(kTopologyLeaves, entry.function) != std::end(kTopologyLeaves))
      entry.edx = index;
    if (entry.function == 0x8000001e) {
      entry.eax = index;
      set_field(entry.ebx, 0, 8, index);  // core id; one thread per core
      set_field(entry.ebx, 8, 8, 0);
    }
  }
  return table;
}

}  // namespace hull::vmm::x86
