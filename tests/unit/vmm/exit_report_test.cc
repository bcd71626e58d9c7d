#include "vmm/exit_report.h"

#include <gtest/gtest.h>

namespace hull::vmm {
namespace {

TEST(UnemulatedInstruction, KnownEncodingGivesName) {
  const uint8_t rdtscp[] = {0x0f, 0x01, 0xf9, 0x90};
  const uint8_t popcnt[] = {0xf3, 0x48, 0x0f, 0xb8, 0xc0};
  const uint8_t cmpxchg16b[] = {0xf0, 0x48, 0x0f, 0xc7, 0x0e};
  EXPECT_EQ(name_of_unemulated_instruction(rdtscp), "rdtscp");
  EXPECT_EQ(name_of_unemulated_instruction(popcnt), "popcnt");
  EXPECT_EQ(name_of_unemulated_instruction(cmpxchg16b), "cmpxchg16b");
}

TEST(UnemulatedInstruction, MissingMandatoryPrefixGivesNothing) {
  const uint8_t no_prefix[] = {0x0f, 0xb8, 0xc0};
  EXPECT_EQ(name_of_unemulated_instruction(no_prefix), "");
}

TEST(UnemulatedInstruction, OtherModRmGivesNothing) {
  const uint8_t fxsave[] = {0x0f, 0xae, 0x00};
  EXPECT_EQ(name_of_unemulated_instruction(fxsave), "");
}

TEST(UnemulatedInstruction, TruncatedBytesGiveNothing) {
  const uint8_t only_prefixes[] = {0xf3, 0x48};
  const uint8_t no_modrm[] = {0x0f, 0xc7};
  EXPECT_EQ(name_of_unemulated_instruction({}), "");
  EXPECT_EQ(name_of_unemulated_instruction(only_prefixes), "");
  EXPECT_EQ(name_of_unemulated_instruction(no_modrm), "");
}

}  // namespace
}  // namespace hull::vmm
