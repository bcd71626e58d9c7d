#include "vmm/x86/cpuid.h"

#include <gtest/gtest.h>

#include "vmm/x86/cpuid_features.h"

namespace hull::vmm::x86 {
namespace {

kvm_cpuid_entry2 leaf(uint32_t function, uint32_t index = 0, uint32_t flags = 0) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = index;
  entry.flags = flags;
  return entry;
}

// As KVM reports an AMD host: everything set in the leaves that features are in.
CpuidTable small_table() {
  CpuidTable table;
  kvm_cpuid_entry2 highest = leaf(0);
  highest.eax = 0xb;
  EXPECT_TRUE(table.append(highest));
  EXPECT_TRUE(table.append(leaf(1)));
  EXPECT_TRUE(table.append(leaf(0xa)));
  EXPECT_TRUE(table.append(leaf(0xb, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX)));
  EXPECT_TRUE(table.append(leaf(7, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX)));
  EXPECT_TRUE(table.append(leaf(0xd, 1, KVM_CPUID_FLAG_SIGNIFCANT_INDEX)));
  kvm_cpuid_entry2 extended = leaf(0x80000000);
  extended.eax = 0x80000022;
  EXPECT_TRUE(table.append(extended));
  for (const uint32_t function : {0x80000001u, 0x8000000au, 0x8000001eu, 0x80000022u})
    EXPECT_TRUE(table.append(leaf(function)));
  for (kvm_cpuid_entry2& entry : table.entries())
    if (entry.function != 0 && entry.function != 0x80000000)
      entry.eax = entry.ebx = entry.ecx = entry.edx = ~0u;
  return table;
}

CpuidTable table_for(const CpuModel& model, unsigned index = 0) {
  const auto machine = cpuid_for_machine(small_table(), model);
  EXPECT_TRUE(machine) << machine.error().message();
  return cpuid_for_vcpu(*machine, index);
}

bool bit(CpuidTable table, uint32_t function, uint32_t kvm_cpuid_entry2::* reg, unsigned number,
         uint32_t index = 0) {
  const kvm_cpuid_entry2* entry = table.find(function, index);
  EXPECT_NE(entry, nullptr);
  return entry != nullptr && (entry->*reg >> number & 1) != 0;
}

TEST(Cpuid, Leaf1HasApicIdCountAndHypervisorBit) {
  CpuidTable table = table_for({.vcpus = 4, .tsc_deadline_timer = true}, 2);
  const kvm_cpuid_entry2* entry = table.find(1);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->ebx >> 24, 2u);
  EXPECT_EQ(entry->ebx >> 16 & 0xff, 4u);
  EXPECT_NE(entry->ecx & 1u << 31, 0u);
  EXPECT_NE(entry->ecx & 1u << 24, 0u);
  EXPECT_NE(entry->edx & 1u << 28, 0u);
}

TEST(Cpuid, TopologyLeafHasThreadAndCoreLevelAndEnd) {
  CpuidTable table = table_for({.vcpus = 6}, 5);
  const kvm_cpuid_entry2* thread = table.find(0xb, 0);
  const kvm_cpuid_entry2* core = table.find(0xb, 1);
  const kvm_cpuid_entry2* end = table.find(0xb, 2);
  ASSERT_TRUE(thread != nullptr && core != nullptr && end != nullptr);
  EXPECT_EQ(thread->eax, 0u);
  EXPECT_EQ(thread->ebx, 1u);
  EXPECT_EQ(core->eax, 3u);  // ids 0 to 5 need three bits
  EXPECT_EQ(core->ebx, 6u);
  EXPECT_EQ(core->ecx, 2u << 8 | 1u);
  EXPECT_EQ(core->edx, 5u);
  EXPECT_EQ(end->ebx, 0u);
  EXPECT_EQ(end->ecx, 2u);
}

TEST(Cpuid, LeafThatKvmDoesNotOfferIsNotAdded) {
  CpuidTable table = table_for({});
  EXPECT_EQ(table.find(0x1f), nullptr);
  EXPECT_EQ(table.find(0x8000001d), nullptr);
}

TEST(Cpuid, AmdLeafHasCoreAndNode) {
  CpuidTable table = table_for({.vcpus = 4}, 3);
  EXPECT_EQ(table.find(0x8000001e)->eax, 3u);
  EXPECT_EQ(table.find(0x8000001e)->ebx & 0xffff, 3u);
  EXPECT_EQ(table.find(0x8000001e)->ecx, 0u);
}

using Entry = kvm_cpuid_entry2;

TEST(Cpuid, DisabledFeatureIsCleared) {
  const std::string names[] = {"avx2", "xsaves", "syscall"};
  const CpuidTable table = table_for({.disabled = names});
  EXPECT_FALSE(bit(table, 7, &Entry::ebx, 5));
  EXPECT_TRUE(bit(table, 7, &Entry::ebx, 3));
  EXPECT_FALSE(bit(table, 0xd, &Entry::eax, 3, 1));
  EXPECT_FALSE(bit(table, 0x80000001, &Entry::edx, 11));
}

// The user's word is the last one, also about what hull sets by itself.
TEST(Cpuid, WhatHullSetsCanBeDisabledToo) {
  const std::string names[] = {"tsc-deadline", "hypervisor", "ht"};
  const CpuidTable table =
      table_for({.vcpus = 4, .tsc_deadline_timer = true, .disabled = names}, 1);
  EXPECT_FALSE(bit(table, 1, &Entry::ecx, 24));
  EXPECT_FALSE(bit(table, 1, &Entry::ecx, 31));
  EXPECT_FALSE(bit(table, 1, &Entry::edx, 28));
}

TEST(Cpuid, WhatAmdRepeatsOfLeaf1IsClearedTwice) {
  const std::string names[] = {"fxsr"};
  const CpuidTable table = table_for({.disabled = names});
  EXPECT_FALSE(bit(table, 1, &Entry::edx, 24));
  EXPECT_FALSE(bit(table, 0x80000001, &Entry::edx, 24));
}

TEST(Cpuid, NestingAndCountersAreHiddenUnlessAskedFor) {
  CpuidTable table = table_for({});
  EXPECT_FALSE(bit(table, 1, &Entry::ecx, 5));
  EXPECT_FALSE(bit(table, 0x80000001, &Entry::ecx, 2));
  EXPECT_FALSE(bit(table, 0x80000001, &Entry::ecx, 23));
  EXPECT_EQ(table.find(0x8000000a)->edx, 0u);
  EXPECT_EQ(table.find(0xa)->eax, 0u);
  EXPECT_EQ(table.find(0x80000022)->ebx, 0u);

  const std::string names[] = {"vmx", "svm"};
  table = table_for({.pmu = true, .required = names});
  EXPECT_TRUE(bit(table, 1, &Entry::ecx, 5));
  EXPECT_TRUE(bit(table, 0x80000001, &Entry::ecx, 2));
  EXPECT_TRUE(bit(table, 0x80000001, &Entry::ecx, 23));
  EXPECT_NE(table.find(0x8000000a)->edx, 0u);
  EXPECT_NE(table.find(0xa)->eax, 0u);
}

TEST(Cpuid, BrandStringIsTheHosts) {
  CpuidTable table = table_for({});
  for (uint32_t function = 0x80000002; function <= 0x80000004; ++function) {
    const kvm_cpuid_entry2* entry = table.find(function);
    ASSERT_NE(entry, nullptr);
    const kvm_cpuid_entry2 host = host_cpuid(function);
    EXPECT_EQ(entry->eax, host.eax);
    EXPECT_EQ(entry->edx, host.edx);
  }
}

TEST(Cpuid, RequiredFeatureThatTheHostLacksIsNamed) {
  CpuidTable poor = small_table();
  poor.find(7)->ebx &= ~(1u << 16);
  const std::string names[] = {"avx2", "avx512f", "amx-fp16"};
  const auto table = cpuid_for_machine(poor, {.required = names});
  ASSERT_FALSE(table);
  EXPECT_EQ(table.error().kind(), ErrorKind::kHost);
  EXPECT_EQ(table.error().message(),
            "this host's KVM does not have CPU feature 'avx512f', 'amx-fp16', which the domain "
            "requires");
}

TEST(Cpuid, UnknownFeatureNameIsRefused) {
  const std::string names[] = {"warp-drive"};
  for (const CpuModel& model : {CpuModel{.disabled = names}, CpuModel{.required = names}}) {
    const auto result = cpuid_for_machine(small_table(), model);
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().kind(), ErrorKind::kInvalidConfig);
    EXPECT_NE(result.error().message().find("warp-drive"), std::string::npos);
  }
}

TEST(Cpuid, DetailsOfVmxGoWithIt) {
  const std::string details[] = {"vmx-apicv-xapic", "vmx-ept"};
  EXPECT_FALSE(bit(table_for({.disabled = details}), 1, &Entry::ecx, 5));
  const std::string vmx[] = {"vmx", "vmx-ept"};
  EXPECT_TRUE(bit(table_for({.disabled = details, .required = vmx}), 1, &Entry::ecx, 5));
  CpuidTable amd = small_table();
  amd.find(1)->ecx &= ~(1u << 5);
  EXPECT_FALSE(cpuid_for_machine(amd, {.required = vmx}));
}

// A host that fills the whole table is an error, not the end of the process.
TEST(Cpuid, AFullTableIsAnError) {
  CpuidTable full = small_table();
  while (full.append(leaf(0x40000000))) {
  }
  const auto table = cpuid_for_machine(full, {});
  ASSERT_FALSE(table);
  EXPECT_EQ(table.error().kind(), ErrorKind::kHost);
}

}  // namespace
}  // namespace hull::vmm::x86
