// Counts in rows that exist only where something is counted, against a plain array.
#include "blockcore/qcow2/check/reference_counts.h"

#include <gtest/gtest.h>

#include <random>

namespace hull::blockcore::qcow2 {
namespace {

TEST(ReferenceCounts, AreThoseOfAPlainArray) {
  std::mt19937 random(5);
  constexpr uint64_t kClusters = 5000;
  auto counts = ReferenceCounts::create(kClusters);
  ASSERT_TRUE(counts);
  std::vector<uint32_t> model(kClusters);
  for (int step = 0; step < 40'000; ++step) {
    const uint64_t cluster = random() % 3 == 0 ? random() % kClusters : random() % 600;
    switch (random() % 6) {
      case 0:
        counts->set(cluster, model[cluster] = static_cast<uint32_t>(random() >> random() % 32));
        break;
      case 1:
        counts->add(cluster, 200);
        model[cluster] = model[cluster] > ~uint32_t{0} - 200 ? ~uint32_t{0} : model[cluster] + 200;
        break;
      case 2:
        if (step % 5000 != 2) break;
        counts->count_unknown(cluster);
        for (uint64_t i = 0; i < cluster; ++i) model[i] = std::max(model[i], 1U);
        break;
      default: break;
    }
    const uint64_t at = random() % kClusters;
    ASSERT_EQ((*counts)[at], model[at]);
    const uint64_t end = at + random() % (kClusters - at + 1);
    uint64_t next = at;
    while (next < end && model[next] == 0) ++next;
    ASSERT_EQ(counts->next_counted(at, end), next);
    if (step % 100 != 0) continue;
    uint64_t last = kClusters;
    while (last != 0 && model[last - 1] == 0) --last;
    ASSERT_EQ(counts->end_of_counted(), last);
  }
}

TEST(ReferenceCounts, SaturateAndReachAsFarAsTheFormat) {
  // As many as 8 MiB of refcount table count with one bit each in clusters of 64 KiB.
  auto counts = ReferenceCounts::create(uint64_t{1} << 39);
  ASSERT_TRUE(counts);
  const uint64_t far = (uint64_t{1} << 39) - 1;
  counts->add(far, ~uint32_t{0});
  counts->add(far);
  EXPECT_EQ((*counts)[far], ~uint32_t{0});
  EXPECT_EQ(counts->end_of_counted(), far + 1);
  EXPECT_EQ((*counts)[far - 1], 0U);
  EXPECT_FALSE(counts->exhausted());
}

}  // namespace
}  // namespace hull::blockcore::qcow2
