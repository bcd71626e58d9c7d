#include "blockcore/image/rate_limit.h"

#include <gtest/gtest.h>

namespace hull::blockcore {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

TEST(RateLimit, BytesAreDueAtTheirRate) {
  EXPECT_EQ(RateLimit(1000).due(0), nanoseconds(0));
  EXPECT_EQ(RateLimit(1000).due(2500), milliseconds(2500));
}

TEST(RateLimit, NoLimitNeverWaits) { EXPECT_EQ(RateLimit(0).due(UINT64_MAX), nanoseconds(0)); }

TEST(RateLimit, ExtremesDoNotOverflow) {
  const auto most = RateLimit(1).due(UINT64_MAX);
  EXPECT_GT(most, std::chrono::hours(24 * 365 * 30));
  EXPECT_GT(std::chrono::steady_clock::now() + most, std::chrono::steady_clock::now());
  EXPECT_LT(RateLimit(UINT64_MAX).due(UINT64_MAX), std::chrono::seconds(2));
}

}  // namespace
}  // namespace hull::blockcore
