#include "blockcore/nbd/pending_requests.h"

#include <gtest/gtest.h>

namespace hull::blockcore::nbd {
namespace {

TEST(PendingRequests, AreFoundByTheirCookiesUntilTheyAreFinished) {
  PendingRequests pending;
  PendingRequest first{.command = Command::kRead};
  PendingRequest second{.command = Command::kWrite};
  const uint64_t first_cookie = pending.enter(first);
  const uint64_t second_cookie = pending.enter(second);

  pending.finish(first_cookie);

  EXPECT_TRUE(first.done);
  EXPECT_EQ(pending.find(first_cookie), nullptr);
  EXPECT_EQ(pending.find(second_cookie), &second);
  EXPECT_FALSE(pending.empty());
}

TEST(PendingRequests, OldCookieFindsNothingInAUsedSlot) {
  PendingRequests pending;
  PendingRequest first{.command = Command::kRead};
  const uint64_t old = pending.enter(first);
  pending.finish(old);
  PendingRequest second{.command = Command::kRead};

  const uint64_t cookie = pending.enter(second);

  EXPECT_NE(cookie, old);
  EXPECT_EQ(pending.find(old), nullptr);
  EXPECT_EQ(pending.find(cookie), &second);
  EXPECT_EQ(pending.find(cookie + 1), nullptr);
}

TEST(PendingRequests, AllFailTogether) {
  PendingRequests pending;
  PendingRequest first{.command = Command::kRead};
  PendingRequest second{.command = Command::kWrite};
  pending.enter(first);
  pending.enter(second);

  pending.fail_all();

  EXPECT_TRUE(pending.empty());
  EXPECT_TRUE(first.done && second.done);
  EXPECT_EQ(first.error, static_cast<uint32_t>(WireError::kIo));
  EXPECT_EQ(second.error, static_cast<uint32_t>(WireError::kIo));
}

}  // namespace
}  // namespace hull::blockcore::nbd
