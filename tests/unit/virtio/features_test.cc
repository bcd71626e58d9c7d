#include "virtio/features.h"

#include <gtest/gtest.h>

namespace hull::virtio {
namespace {

TEST(FeatureSet, EnumeratorsArePositionsAndNotMasks) {
  EXPECT_EQ(FeatureSet().with(Feature::kRingEventIndex).bits(), 0x20000000U);
  EXPECT_TRUE(FeatureSet(0x20000000U).has(Feature::kRingEventIndex));
  EXPECT_FALSE(FeatureSet(29).has(Feature::kRingEventIndex));
  EXPECT_EQ(FeatureSet().with(Feature::kVersion1).bits(), uint64_t{1} << 32);
}

TEST(FeatureSet, WithoutTheWishNothingIsAdded) {
  EXPECT_EQ(FeatureSet(4).with(Feature::kVersion1, false).bits(), 4U);
}

TEST(FeatureSet, SubsetIsNoMoreThanWhatWasOffered) {
  EXPECT_TRUE(FeatureSet(5).is_subset_of(FeatureSet(7)));
  EXPECT_FALSE(FeatureSet(8).is_subset_of(FeatureSet(7)));
}

}  // namespace
}  // namespace hull::virtio
