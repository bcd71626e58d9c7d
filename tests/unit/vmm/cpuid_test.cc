#include "vmm/x86/cpuid.h"

#include <gtest/gtest.h>

namespace hull::vmm::x86 {
namespace {

kvm_cpuid_entry2 leaf(uint32_t function, uint32_t index = 0, uint32_t flags = 0) {
  kvm_cpuid_entry2 entry{};
  entry.function = function;
  entry.index = index;
  entry.flags = flags;
  return entry;
}

CpuidTable small_table() {
  CpuidTable table;
  kvm_cpuid_entry2 highest = leaf(0);
  highest.eax = 0xb;
  EXPECT_TRUE(table.append(highest));
  EXPECT_TRUE(table.append(leaf(1)));
  EXPECT_TRUE(table.append(leaf(0xb, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX)));
  EXPECT_TRUE(table.append(leaf(7, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX)));
  return table;
}

TEST(Cpuid, Leaf1HasApicIdCountAndHypervisorBit) {
  CpuidTable table = cpuid_for_vcpu(small_table(), 2, 4, true);
  const kvm_cpuid_entry2* entry = table.find(1);
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->ebx >> 24, 2u);
  EXPECT_EQ(entry->ebx >> 16 & 0xff, 4u);
  EXPECT_NE(entry->ecx & 1u << 31, 0u);
  EXPECT_NE(entry->ecx & 1u << 24, 0u);
  EXPECT_NE(entry->edx & 1u << 28, 0u);
}

TEST(Cpuid, TopologyLeafHasThreadAndCoreLevelAndEnd) {
  CpuidTable table = cpuid_for_vcpu(small_table(), 5, 6, false);
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
  CpuidTable table = cpuid_for_vcpu(small_table(), 0, 1, false);
  EXPECT_EQ(table.find(0x1f), nullptr);
  EXPECT_EQ(table.find(0x8000001e), nullptr);
}

TEST(Cpuid, DisabledFeatureIsCleared) {
  CpuidTable table = small_table();
  table.find(7)->ebx = 1u << 5 | 1u << 3;
  const std::string names[] = {"avx2"};
  ASSERT_TRUE(disable_features(table, names).has_value());
  EXPECT_EQ(table.find(7)->ebx, 1u << 3);
}

TEST(Cpuid, UnknownFeatureNameIsRefused) {
  CpuidTable table = small_table();
  const std::string names[] = {"warp-drive"};
  const auto result = disable_features(table, names);
  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error().kind(), ErrorKind::kInvalidConfig);
}

}  // namespace
}  // namespace hull::vmm::x86
