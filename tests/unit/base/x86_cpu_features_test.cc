#include "base/x86_cpu_features.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

namespace hull {
namespace {

TEST(X86CpuFeatures, EachNameAndEachBitIsThereOnce) {
  std::set<std::string_view> names;
  std::set<std::tuple<uint32_t, uint32_t, X86CpuFeature::Place, uint8_t>> bits;
  for (const X86CpuFeature& feature : x86_cpu_features()) {
    EXPECT_TRUE(names.insert(feature.name).second) << feature.name;
    EXPECT_LT(feature.bit, 32);
    EXPECT_TRUE(bits.insert({feature.leaf, feature.subleaf, feature.place, feature.bit}).second)
        << feature.name;
  }
  EXPECT_GE(names.size(), 212u);
}

TEST(X86CpuFeatures, NamesOfRealDocumentsAreFound) {
  for (const char* name :
       {"mca",          "syscall", "lm",     "sse2",     "xsaves",        "xsavec",
        "md-clear",     "ibpb",    "ibrs",   "npt",      "nrip-save",     "avx512vnni",
        "vaes",         "gfni",    "fsrm",   "intel-pt", "3dnowprefetch", "osvw",
        "perfctr_core", "clzero",  "invtsc", "topoext",  "mds-no",        "split-lock-detect"})
    EXPECT_NE(find_x86_cpu_feature(name), nullptr) << name;
  EXPECT_EQ(find_x86_cpu_feature("avx3"), nullptr);
  EXPECT_EQ(find_x86_cpu_feature(""), nullptr);
}

TEST(X86CpuFeatures, BitsAreWhereTheManualsHaveThem) {
  const auto at = [](const char* name) {
    const X86CpuFeature* feature = find_x86_cpu_feature(name);
    return feature == nullptr ? std::tuple(0u, 0u, 0u)
                              : std::tuple(feature->leaf, feature->subleaf, 0u + feature->bit);
  };
  EXPECT_EQ(at("avx2"), std::tuple(7u, 0u, 5u));
  EXPECT_EQ(at("xsaves"), std::tuple(0xdu, 1u, 3u));
  EXPECT_EQ(at("svm"), std::tuple(0x80000001u, 0u, 2u));
  EXPECT_EQ(at("invtsc"), std::tuple(0x80000007u, 0u, 8u));
  EXPECT_EQ(at("taa-no"), std::tuple(0x10au, 0u, 8u));
}

}  // namespace
}  // namespace hull
