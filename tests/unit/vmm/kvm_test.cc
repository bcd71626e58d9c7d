#include "vmm/kvm.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace hull::vmm {
namespace {

// Not all machines that build hull can run it.
class KvmTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto kvm = Kvm::open();
    if (!kvm) GTEST_SKIP() << kvm.error().message();
    vm_.emplace(kvm->create_vm().value());
  }
  std::optional<Vm> vm_;
};

TEST_F(KvmTest, ErrorsNameTheCallAndAreTheHosts) {
  const auto connected = vm_->connect_irqfd(-1, 5);
  ASSERT_FALSE(connected);
  EXPECT_TRUE(connected.error().message().starts_with("KVM_IRQFD: "))
      << connected.error().message();
  EXPECT_EQ(connected.error().kind(), ErrorKind::kHost);
}

// KVM refuses a slot of 2^31 pages (KVM_MEM_MAX_NR_PAGES), and two slots of one number are one.
TEST(MemorySlots, RegionsBeyondTheLimitOfASlotGetSeveral) {
  constexpr uint64_t kTiB = uint64_t{1} << 40;
  const MemoryRegion region = {GuestAddress{uint64_t{4} << 30}, 9 * kTiB + 0x1000};
  uint64_t covered = 0;
  std::set<uint32_t> numbers;
  for (const auto& slot : slots_of_region(1, region, 0x10000000, SlotAccess::kReadWrite)) {
    EXPECT_EQ(slot.guest_phys_addr, (uint64_t{4} << 30) + covered);
    EXPECT_EQ(slot.userspace_addr, 0x10000000 + covered);
    EXPECT_LT(slot.memory_size / 4096, uint64_t{1} << 31);
    EXPECT_TRUE(numbers.insert(slot.slot).second);
    covered += slot.memory_size;
  }
  EXPECT_EQ(covered, region.size_bytes);
  for (const auto& slot : slots_of_region(0, region, 0x10000000, SlotAccess::kNone)) {
    EXPECT_EQ(slot.memory_size, 0U);
    EXPECT_FALSE(numbers.contains(slot.slot)) << "of another region";
  }
}

TEST_F(KvmTest, RegionsComeAndGo) {
  const std::array<MemoryRegion, 2> regions = {{
      {GuestAddress{0}, 0x10000},
      {.start = GuestAddress{0xfffc0000}, .size_bytes = 0x40000, .kind = MemoryKind::kFlash},
  }};
  const GuestMemory memory = GuestMemory::create(regions).value();
  ASSERT_TRUE(vm_->set_memory(memory));
  EXPECT_FALSE(vm_->set_slots(memory, 1, SlotAccess::kReadWrite)) << "by way of kNone";
  for (const SlotAccess access :
       {SlotAccess::kNone, SlotAccess::kReadWrite, SlotAccess::kNone, SlotAccess::kReadOnly})
    EXPECT_TRUE(vm_->set_slots(memory, 1, access));
}

}  // namespace
}  // namespace hull::vmm
