#include "blockcore/qcow2/alloc/held_clusters.h"

#include <gtest/gtest.h>

namespace hull::blockcore::qcow2 {
namespace {

TEST(HeldClusters, HoldsWholeRunsAndNothingBeside) {
  HeldClusters held;
  EXPECT_FALSE(held.contains(0));

  held.add({10, 3});

  EXPECT_FALSE(held.contains(9));
  EXPECT_TRUE(held.contains(10));
  EXPECT_TRUE(held.contains(12));
  EXPECT_FALSE(held.contains(13));
}

TEST(HeldClusters, NeighboursGoTogetherAndOthersStay) {
  HeldClusters held;
  held.add({4, 1});
  held.add({5, 1});
  held.add({6, 2});
  held.add({8, 1});

  held.remove({5, 3});

  EXPECT_TRUE(held.contains(4));
  EXPECT_FALSE(held.contains(5));
  EXPECT_FALSE(held.contains(7));
  EXPECT_TRUE(held.contains(8));
}

}  // namespace
}  // namespace hull::blockcore::qcow2
