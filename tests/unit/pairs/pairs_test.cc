// Every cell of the table of pairs (tests/pairs/cells.h) with a few seeds. tests/pairs/night runs
// it for hours.
#include <gtest/gtest.h>

#include <set>

#include "base/log.h"
#include "tests/pairs/cells.h"
#include "tests/support/sanitizers.h"

namespace hull::pairs {
namespace {

constexpr unsigned kSeeds = testing::kSanitizerFactor == 1 ? 4 : 2;

class Pairs : public ::testing::TestWithParam<std::tuple<Row, Column>> {};

TEST_P(Pairs, KeepWhatWasAcknowledged) {
  const auto [row, column] = GetParam();
  if (impossible(row, column) != nullptr) return;
  CellCounts counts;
  for (unsigned seed = 1; seed <= kSeeds; ++seed)
    ASSERT_EQ(run_cell(row, column, {.seed = seed}, counts), "") << "seed " << seed;
  EXPECT_EQ(counts.runs, kSeeds);
  if (column == Column::kCrash || column == Column::kStale) {
    EXPECT_GT(counts.crash_states, kSeeds);
  }
  // Under sanitizers the runs are short, and some meet no fault.
  const bool faulty = column == Column::kNoSpace || column == Column::kIoError;
  if (faulty && testing::kSanitizerFactor == 1) {
    EXPECT_GT(counts.faults, 0U);
  }
}

// Runs that have found something.
TEST(PairsThatFailed, KeepWhatWasAcknowledged) {
  CellCounts counts;
  // A snapshot is deleted while the file grows, and its new length is lost.
  EXPECT_EQ(run_cell(Row::kGeometry, Column::kStale, {.seed = 17, .effort = 2}, counts), "");
}

INSTANTIATE_TEST_SUITE_P(Cells, Pairs,
                         ::testing::Combine(::testing::ValuesIn(kRows),
                                            ::testing::ValuesIn(kColumns)),
                         [](const auto& one) {
                           std::string name = std::string(name_of(std::get<0>(one.param))) + "_" +
                                              name_of(std::get<1>(one.param));
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

}  // namespace
}  // namespace hull::pairs
