#include "vmm/kvm.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>

#include "vmm/host_facts.h"

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
  EXPECT_EQ(connected.error().message(), "KVM_IRQFD: Bad file descriptor");
  EXPECT_EQ(connected.error().kind(), ErrorKind::kHost);
}

TEST_F(KvmTest, RegionsBeyondTheLimitOfASlotGetSeveral) {
  const std::array<MemoryRegion, 2> regions = {{
      {GuestAddress{0}, 0x10000},
      {GuestAddress{uint64_t{4} << 30}, (uint64_t{9} << 40) + 0x1000},
  }};
  const auto memory = GuestMemory::create(regions);
  if (!memory) GTEST_SKIP() << memory.error().message();  // sanitizers leave less address space
  const auto set = vm_->set_memory(*memory);
  EXPECT_TRUE(set) << set.error().message();
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

TEST(HostFacts, MissingCapabilitiesAreNamed) {
  EXPECT_EQ(missing_capabilities([](int) { return 1; }), "");
  EXPECT_EQ(missing_capabilities([](int extension) {
              return extension == KVM_CAP_IRQFD || extension == KVM_CAP_PIT2 ? 0 : 1;
            }),
            "PIT, irqfd");
}

}  // namespace
}  // namespace hull::vmm
