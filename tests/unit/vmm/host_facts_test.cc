#include "vmm/host_facts.h"

#include <gtest/gtest.h>
#include <linux/kvm.h>

namespace hull::vmm {
namespace {

TEST(HostFacts, MissingCapabilitiesAreNamed) {
  EXPECT_EQ(missing_capabilities([](int) { return 1; }), "");
  EXPECT_EQ(missing_capabilities([](int extension) {
              return extension == KVM_CAP_IRQFD || extension == KVM_CAP_PIT2 ? 0 : 1;
            }),
            "PIT, irqfd");
}

// With numbers, and never with a machine: what is refused here would take the host's memory.
TEST(HostFacts, GuestsFarLargerThanTheHostAreRefused) {
  constexpr uint64_t kGiB = uint64_t{1} << 30;
  EXPECT_TRUE(check_guest_memory(24 * kGiB, 24 * kGiB));
  EXPECT_TRUE(check_guest_memory(16 * 24 * kGiB, 24 * kGiB)) << "some overcommit memory";
  const auto refused = check_guest_memory(uint64_t{1} << 46, 24 * kGiB);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind(), ErrorKind::kHost);
  EXPECT_NE(refused.error().message().find("16 times what this host has (24576 MiB)"),
            std::string::npos)
      << refused.error().message();
}

}  // namespace
}  // namespace hull::vmm
