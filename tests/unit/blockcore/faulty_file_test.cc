#include "tests/support/faulty_file.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/support/run_now.h"

namespace hull::testing {
namespace {

using blockcore::read_exactly;
using blockcore::write_exactly;

TEST(FaultyFile, NthChangeFailsWithTheErrorOfThePlan) {
  FaultPlan plan;
  FaultyFile file(std::make_unique<MemoryFile>(), plan);
  const std::array<std::byte, 4> data{};
  plan.fail_at = 2;
  plan.error = ENOSPC;
  EXPECT_TRUE(run_now(write_exactly(file, 0, data)));
  const auto second = run_now(write_exactly(file, 4, data));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind(), ErrorKind::kNoSpace);
  EXPECT_TRUE(run_now(write_exactly(file, 4, data)));
  EXPECT_EQ(plan.log.size(), 2U);
}

TEST(FaultyFile, ReplayLosesWhatNoFlushCovers) {
  FaultPlan plan;
  FaultyFile file(std::make_unique<MemoryFile>(), plan);
  const std::array<std::byte, 1> one{std::byte{1}};
  const std::array<std::byte, 1> two{std::byte{2}};
  ASSERT_TRUE(run_now(write_exactly(file, 0, one)));
  ASSERT_TRUE(run_now(file.flush()));
  ASSERT_TRUE(run_now(write_exactly(file, 0, two)));
  EXPECT_EQ(plan.replay({}, 3), std::vector<uint8_t>{2});
  EXPECT_EQ(plan.replay_reordered({}, 3, [](size_t) { return false; }), std::vector<uint8_t>{1});
}

TEST(MemoryFile, ReadPastTheEndFailsOrGivesZeros) {
  MemoryFile file({1, 2, 3});
  std::array<std::byte, 4> data{};
  EXPECT_EQ(run_now(read_exactly(file, 1, data)).error().kind(), ErrorKind::kOutOfRange);
  const iovec buffer{data.data(), data.size()};
  ASSERT_TRUE(run_now(file.read_or_zero(1, {&buffer, 1})));
  EXPECT_EQ(data, (std::array{std::byte{2}, std::byte{3}, std::byte{0}, std::byte{0}}));
}

}  // namespace
}  // namespace hull::testing
