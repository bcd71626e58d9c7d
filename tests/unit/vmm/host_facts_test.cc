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

}  // namespace
}  // namespace hull::vmm
