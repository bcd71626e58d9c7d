// Leaves and bits: Intel SDM volume 2A, CPUID; AMD APM volume 3, appendix E.
#include "vmm/x86/cpuid.h"

#include <algorithm>
#include <bit>

namespace hull::vmm::x86 {

namespace {

constexpr uint32_t kLeaf1EcxTscDeadline = 1u << 24;
constexpr uint32_t kLeaf1EcxHypervisor = 1u << 31;
constexpr uint32_t kLeaf1EdxHtt = 1u << 28;

// Bits of the APIC id that number the cores of the package.
uint32_t core_id_bits(unsigned vcpus) { return static_cast<uint32_t>(std::bit_width(vcpus - 1)); }

void set_field(uint32_t& value, unsigned shift, unsigned width, uint32_t field) {
  const uint32_t mask = ((1u << width) - 1) << shift;
  value = (value & ~mask) | ((field << shift) & mask);
}

void patch_leaf_1(kvm_cpuid_entry2& leaf, unsigned index, unsigned vcpus, bool tsc_deadline_timer) {
  set_field(leaf.ebx, 24, 8, index);
  // Addressable ids in the package: a power of two, at most 255 fits.
  set_field(leaf.ebx, 16, 8, std::min(1u << core_id_bits(vcpus), 255u));
  leaf.ecx |= kLeaf1EcxHypervisor;
  if (tsc_deadline_timer) leaf.ecx |= kLeaf1EcxTscDeadline;
  if (vcpus > 1) leaf.edx |= kLeaf1EdxHtt;
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

void patch_amd_leaves(CpuidTable& table, unsigned index, unsigned vcpus) {
  if (kvm_cpuid_entry2* leaf = table.find(0x80000008)) {
    set_field(leaf->ecx, 0, 8, std::min(vcpus - 1, 255u));  // NC
    set_field(leaf->ecx, 12, 4, core_id_bits(vcpus));       // ApicIdSize
  }
  if (kvm_cpuid_entry2* leaf = table.find(0x8000001e)) {
    leaf->eax = index;
    leaf->ebx = index & 0xff;  // core id, one thread per core
    leaf->ecx = 0;             // one node
  }
}

// Leaves 0xB and 0x1F: thread level, core level, end.
void replace_topology_leaf(CpuidTable& table, uint32_t function, unsigned index, unsigned vcpus) {
  table.remove(function);
  kvm_cpuid_entry2 level{};
  level.function = function;
  level.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
  level.edx = index;
  const uint32_t shifts[] = {0, core_id_bits(vcpus), 0};
  const uint32_t counts[] = {1, vcpus, 0};
  for (uint32_t i = 0; i < 3; ++i) {
    level.index = i;
    level.eax = shifts[i];
    level.ebx = counts[i];
    level.ecx = i | (i < 2 ? (i + 1) << 8 : 0);  // type 1 thread, 2 core, 0 end
    CHECK(table.append(level));
  }
}

}  // namespace

CpuidTable cpuid_for_vcpu(const CpuidTable& supported, unsigned index, unsigned vcpus,
                          bool tsc_deadline_timer) {
  CpuidTable table = supported;
  for (kvm_cpuid_entry2& entry : table.entries()) {
    if (entry.function == 1) patch_leaf_1(entry, index, vcpus, tsc_deadline_timer);
    if (entry.function == 4 || entry.function == 0x8000001d) patch_cache_leaf(entry, vcpus);
  }
  patch_amd_leaves(table, index, vcpus);
  const uint32_t highest = table.entries().empty() ? 0 : table.entries()[0].eax;
  if (highest >= 0xb) replace_topology_leaf(table, 0xb, index, vcpus);
  if (highest >= 0x1f) replace_topology_leaf(table, 0x1f, index, vcpus);
  return table;
}

}  // namespace hull::vmm::x86
