// hull img compact below its options: the disk stays what it is, the file is short afterwards,
// and a crash or a failing operation at any moment leaves leaks at most.
#include "blockcore/image/compact.h"

#include <gtest/gtest.h>

#include <random>

#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/data/compressor.h"
#include "blockcore/qcow2/edit/resize.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "tests/support/faulty_file.h"
#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::FaultPlan;
using testing::FaultyFile;
using testing::MemoryFile;
using testing::run_now;

struct CompactCase {
  const char* name;
  uint32_t version;
  uint32_t cluster_bits;
  uint32_t refcount_order;
  bool backing = false;
  bool extended = false;
  bool compressed = false;
  bool snapshot = false;
};
void PrintTo(const CompactCase& one, std::ostream* out) { *out << one.name; }

class Qcow2Compact : public ::testing::TestWithParam<CompactCase> {
 protected:
  static constexpr uint64_t kBackingBytes = 50 << 10;

  uint64_t cluster_bytes() const { return uint64_t{1} << GetParam().cluster_bits; }
  uint64_t clusters() const { return GetParam().cluster_bits == 9 ? 900 : 60; }

  void SetUp() override {
    const CompactCase& one = GetParam();
    image_ = testing::make_qcow2({.size_bytes = clusters() * cluster_bytes(),
                                  .version = one.version,
                                  .cluster_bits = one.cluster_bits,
                                  .refcount_order = one.refcount_order,
                                  .extended_l2 = one.extended,
                                  .backing_name = one.backing ? "base" : "",
                                  .backing_format = one.backing ? "raw" : ""});
    backing_.resize(one.backing ? kBackingBytes : 0);
    for (uint8_t& byte : backing_) byte = static_cast<uint8_t>(random_() | 1);
    make_holes();
    const auto disk = open(std::make_unique<MemoryFile>(image_));
    ASSERT_NE(disk, nullptr);
    contents_ = *testing::read_disk(*disk);
  }

  std::unique_ptr<Qcow2Disk> open(std::unique_ptr<File> file) const {
    auto disk = testing::open_qcow2(std::move(file));
    if (!disk) return nullptr;
    if (GetParam().backing) {
      auto base = std::make_unique<testing::MemoryDisk>(backing_.size());
      base->bytes = backing_;
      (*disk)->set_backing(std::move(base));
    }
    return *std::move(disk);
  }

  Bytes noise(size_t length) {
    Bytes data(length);
    for (uint8_t& byte : data) byte = static_cast<uint8_t>(random_());
    return data;
  }

  // Every cluster is written, in any order; then most go, some become zeros that are stored.
  void make_holes() {
    auto inner = std::make_unique<MemoryFile>(image_);
    MemoryFile& memory = *inner;
    const auto disk = open(std::move(inner));
    ASSERT_NE(disk, nullptr);
    std::vector<uint64_t> order(clusters());
    for (uint64_t i = 0; i < order.size(); ++i) order[i] = i;
    std::ranges::shuffle(order, random_);
    for (const uint64_t cluster : order) {
      if (GetParam().compressed && cluster % 2 == 0) {
        pack(*disk, cluster);
      } else {
        ASSERT_TRUE(testing::write_disk(*disk, cluster * cluster_bytes(), noise(cluster_bytes())));
      }
    }
    if (GetParam().snapshot) {
      ASSERT_TRUE(run_now(qcow2::create_snapshot(disk->parts(), {.name = "one"})));
    }
    for (uint64_t i = 0; i < order.size(); ++i) {
      const uint64_t offset = order[i] * cluster_bytes();
      if (i % 3 != 0) {
        ASSERT_TRUE(run_now(disk->discard(offset, cluster_bytes())));
      } else if (i % 4 == 0) {
        ASSERT_TRUE(testing::write_disk(*disk, offset, Bytes(cluster_bytes())));
      }
    }
    ASSERT_TRUE(run_now(disk->close()));
    image_ = memory.bytes();
  }

  void pack(Qcow2Disk& disk, uint64_t cluster) {
    Bytes data(cluster_bytes(), 'x');
    const Bytes start = noise(cluster_bytes() / 3);
    std::ranges::copy(start, data.begin());
    Bytes stream(cluster_bytes());
    qcow2::Compressor compressor(qcow2::CompressionType::kZlib);
    const size_t length = compressor.compress(std::as_bytes(std::span(data)),
                                              std::as_writable_bytes(std::span(stream)));
    ASSERT_NE(length, 0U);
    const qcow2::CompressedCluster one{cluster * cluster_bytes(),
                                       std::as_bytes(std::span(stream)).first(length)};
    ASSERT_TRUE(run_now(disk.write_compressed({&one, 1})));
  }

  void expect_survivor(const Bytes& image, bool leaks_allowed) const {
    MemoryFile file(image);
    auto header = run_now(qcow2::ImageHeader::read(file));
    ASSERT_TRUE(header) << header.error().message();
    const auto checked = run_now(qcow2::check_image(file, **header));
    ASSERT_TRUE(checked) << checked.error().message();
    ASSERT_EQ(checked->findings.corruptions, 0U) << checked->findings.messages.front();
    if (!leaks_allowed) {
      ASSERT_EQ(checked->leaks, 0U) << checked->findings.messages.front();
    }
    const auto disk = open(std::make_unique<MemoryFile>(image));
    ASSERT_NE(disk, nullptr);
    ASSERT_TRUE(*testing::read_disk(*disk) == contents_);
  }

  Result<CompactReport> compact(const Bytes& image, FaultPlan& plan) const {
    return run_now(
        compact_file(std::make_unique<FaultyFile>(std::make_unique<MemoryFile>(image), plan), {}));
  }

  std::mt19937 random_{5};
  Bytes image_;
  Bytes backing_;
  Bytes contents_;
};

TEST_P(Qcow2Compact, FileLosesWhatItDoesNotNeed) {
  FaultPlan plan;
  const auto report = compact(image_, plan);
  ASSERT_TRUE(report) << report.error().message();
  const Bytes after = plan.replay(image_, plan.log.size());
  expect_survivor(after, false);
  EXPECT_LE(after.size(), image_.size());
  // Without zero clusters a backing file cannot be hidden: nothing was discarded.
  const bool keeps_all = GetParam().version == 2 && GetParam().backing;
  if (GetParam().snapshot || keeps_all) return;
  EXPECT_LT(after.size(), image_.size() * 2 / 3);
  // Refcounts and streams that got smaller at the end may leave a few.
  EXPECT_LT(report->holes * cluster_bytes(), after.size() / 4);
  EXPECT_NE(report->moved, 0U);
  EXPECT_NE(report->zeros_freed, 0U);
}

TEST_P(Qcow2Compact, SecondTimeMakesItNoLonger) {
  FaultPlan plan;
  ASSERT_TRUE(compact(image_, plan));
  const Bytes once = plan.replay(image_, plan.log.size());
  FaultPlan again;
  const auto report = compact(once, again);
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->zeros_freed, 0U);
  EXPECT_EQ(report->leaks_freed, 0U);
  const Bytes twice = again.replay(once, again.log.size());
  EXPECT_LE(twice.size(), once.size());
  expect_survivor(twice, false);
}

TEST_P(Qcow2Compact, AnyMomentLeavesLeaksAtMost) {
  FaultPlan plan;
  ASSERT_TRUE(compact(image_, plan));
  for (size_t crash = 0; crash <= plan.log.size(); ++crash) {
    const bool flush = crash < plan.log.size() && plan.log[crash].kind == FaultPlan::Kind::kFlush;
    if (!flush && crash != plan.log.size() && random_() % 16 != 0) continue;
    SCOPED_TRACE(crash);
    expect_survivor(plan.replay(image_, crash), true);
    if (HasFatalFailure()) return;
    for (unsigned subset = 0; subset < 2; ++subset) {
      expect_survivor(plan.replay_reordered(image_, crash, [&](size_t) { return random_() % 2; }),
                      true);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(Qcow2Compact, AnyFailingOperationLeavesDiskAsItWas) {
  unsigned step = 1;
  for (unsigned fail_at = 1;; fail_at += step) {
    SCOPED_TRACE(fail_at);
    FaultPlan plan;
    plan.fail_at = fail_at;
    plan.error = fail_at % 2 == 0 ? ENOSPC : EIO;
    plan.torn_bytes = fail_at % 3 * 700;
    plan.sticky = fail_at % 5 == 0;
    (void)compact(image_, plan);
    expect_survivor(plan.replay(image_, plan.log.size()), true);
    if (HasFatalFailure()) return;
    if (plan.fail_at != 0) break;
    if (fail_at > 30) step = 7;
  }
}

TEST_P(Qcow2Compact, AnyFailingReadLeavesDiskAsItWas) {
  for (unsigned fail_at = 1;; fail_at += 1 + fail_at / 8) {
    SCOPED_TRACE(fail_at);
    FaultPlan plan;
    plan.fail_read_at = fail_at;
    (void)compact(image_, plan);
    expect_survivor(plan.replay(image_, plan.log.size()), true);
    if (HasFatalFailure()) return;
    if (plan.fail_read_at != 0) break;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Images, Qcow2Compact,
    ::testing::Values(CompactCase{"v3_512", 3, 9, 4}, CompactCase{"v3_512_64bit", 3, 9, 6},
                      CompactCase{"v3_4k_backing", 3, 12, 4, true}, CompactCase{"v2_4k", 2, 12, 4},
                      CompactCase{"v2_4k_backing", 2, 12, 4, true},
                      CompactCase{"v3_16k_extended", 3, 14, 4, false, true},
                      CompactCase{"v3_4k_compressed", 3, 12, 4, false, false, true},
                      CompactCase{"v3_4k_compressed_1bit", 3, 12, 0, false, false, true},
                      CompactCase{"v3_4k_snapshot", 3, 12, 4, false, false, false, true},
                      CompactCase{"v3_4k_compressed_snapshot", 3, 12, 4, false, false, true, true}),
    [](const auto& one) { return std::string(one.param.name); });

// An L1 table that grew lies at the end. Each allocation finds the device full: what is packed by
// then stays, and a table that has no room to move is no failure.
TEST(Qcow2CompactFullDevice, L1TableStaysWhereItIs) {
  constexpr uint64_t kCluster = 512;
  auto inner = std::make_unique<MemoryFile>(
      testing::make_qcow2({.size_bytes = 900 * kCluster, .cluster_bits = 9}));
  MemoryFile& memory = *inner;
  auto disk = testing::open_qcow2(std::move(inner));
  ASSERT_TRUE(disk);
  ASSERT_TRUE(testing::write_disk(**disk, 0, Bytes(900 * kCluster, 0x5a)));
  ASSERT_TRUE(run_now(qcow2::resize((*disk)->parts(), {.size_bytes = 4 << 20})));
  ASSERT_TRUE(run_now((*disk)->discard(0, 800 * kCluster)));
  ASSERT_TRUE(run_now((*disk)->close()));
  const Bytes image = memory.bytes();
  const Bytes contents = *testing::read_disk(**testing::open_qcow2(image));

  unsigned stayed = 0;
  bool full = true;
  for (unsigned full_at = 1; full; ++full_at) {
    SCOPED_TRACE(full_at);
    FaultPlan plan;
    plan.full_at = full_at;
    const auto report = run_now(
        compact_file(std::make_unique<FaultyFile>(std::make_unique<MemoryFile>(image), plan), {}));
    full = plan.full;
    if (report && full) ++stayed;
    if (!report) {
      ASSERT_EQ(report.error().kind(), ErrorKind::kNoSpace) << report.error().message();
    }
    const auto after = testing::open_qcow2(plan.replay(image, plan.log.size()));
    ASSERT_TRUE(after) << after.error().message();
    ASSERT_TRUE(*testing::read_disk(**after) == contents);
  }
  EXPECT_NE(stayed, 0U);
}

TEST(Qcow2CompactRefusal, ImageWithErrorsStaysAsItIs) {
  Bytes image = testing::make_qcow2({.size_bytes = 1 << 20});
  auto inner = std::make_unique<MemoryFile>(image);
  MemoryFile& memory = *inner;
  const auto disk = testing::open_qcow2(std::move(inner));
  ASSERT_TRUE(disk);
  ASSERT_TRUE(testing::write_disk(**disk, 0, Bytes(65536, 1)));
  ASSERT_TRUE(run_now((*disk)->close()));
  image = memory.bytes();
  // The last count that is set is that of the data.
  const size_t block = 2 << 16;
  size_t last = block + 65534;
  while (image[last + 1] == 0) last -= 2;
  image[last + 1] = 0;
  FaultPlan plan;
  const auto report = run_now(
      compact_file(std::make_unique<FaultyFile>(std::make_unique<MemoryFile>(image), plan), {}));
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().kind(), ErrorKind::kCorrupt);
  EXPECT_EQ(plan.replay(image, plan.log.size()), image);
}

}  // namespace
}  // namespace hull::blockcore
