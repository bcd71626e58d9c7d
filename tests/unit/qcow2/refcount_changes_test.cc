// Many counts changed at once come out the same however few of them are kept in memory.
#include "blockcore/qcow2/edit/refcount_changes.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>

#include "blockcore/qcow2/format/image_header.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/run_now.h"

namespace hull::blockcore::qcow2 {
namespace {

using testing::Bytes;
using testing::MemoryFile;
using testing::run_now;

// Full to the last cluster: more than a dozen refcount blocks.
Bytes full_image(uint32_t refcount_order) {
  return testing::make_qcow2({.size_bytes = 1 << 20,
                              .cluster_bits = 9,
                              .refcount_order = refcount_order,
                              .preallocation = Preallocation::kMetadata});
}

struct Outcome {
  Bytes file;
  std::vector<uint64_t> freed;  // clusters, sorted
  uint64_t first_freed = 0;
};

class RefcountChangesTest : public ::testing::TestWithParam<uint32_t> {
 protected:
  // Every third cluster goes up, then every cluster of `order` down, twice where it went up.
  Outcome run(const std::vector<uint64_t>& order, uint64_t most_bytes) {
    MemoryFile file(full_image(GetParam()));
    const auto header = run_now(ImageHeader::read(file)).value();
    HostTable table;
    EXPECT_TRUE(
        run_now(table.read(file, header->refcount_table_offset,
                           header->geometry.offset_of(header->refcount_table_clusters) / 8)));
    RefcountChanges changes(file, header->geometry, table, most_bytes);
    const auto change = [&](uint64_t cluster, Step step) {
      const auto changed = run_now(changes.change({cluster, 1}, step));
      EXPECT_TRUE(changed) << changed.error().message();
    };
    for (const uint64_t cluster : order)
      if (cluster % 3 == 0) change(cluster, Step::kUp);
    EXPECT_TRUE(run_now(changes.write()));
    EXPECT_TRUE(changes.freed().empty());
    for (const uint64_t cluster : order) change(cluster, Step::kDown);
    EXPECT_TRUE(run_now(changes.write()));
    for (const uint64_t cluster : {order.front(), order.back()})
      EXPECT_EQ(run_now(changes.count(cluster)).value(), cluster % 3 == 0 ? 1U : 0U);
    Outcome outcome;
    outcome.first_freed = changes.first_freed();
    for (const HostRun run : changes.freed())
      for (uint64_t i = 0; i < run.count; ++i) outcome.freed.push_back(run.first + i);
    std::ranges::sort(outcome.freed);
    outcome.file = file.bytes();
    return outcome;
  }
};

TEST_P(RefcountChangesTest, SameWithAnyMemory) {
  // Metadata stays as it is.
  constexpr uint64_t kFirst = 150;
  const uint64_t clusters = full_image(GetParam()).size() >> 9;
  ASSERT_GT(clusters, 1500U);
  std::vector<uint64_t> order(clusters - kFirst);
  std::iota(order.begin(), order.end(), kFirst);
  for (const bool shuffled : {false, true}) {
    SCOPED_TRACE(shuffled);
    if (shuffled) std::ranges::shuffle(order, std::mt19937(1));
    const Outcome all = run(order, RefcountChanges::kMaxLoadedBytes);
    EXPECT_GT(all.freed.size(), clusters / 2);
    for (const uint64_t most_bytes : {0U, 512U, 1500U}) {
      SCOPED_TRACE(most_bytes);
      const Outcome few = run(order, most_bytes);
      EXPECT_TRUE(few.file == all.file);
      EXPECT_EQ(few.freed, all.freed);
      EXPECT_EQ(few.first_freed, all.first_freed);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Widths, RefcountChangesTest, ::testing::Values(2, 4, 6));

}  // namespace
}  // namespace hull::blockcore::qcow2
