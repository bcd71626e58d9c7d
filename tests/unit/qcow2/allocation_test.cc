// Allocation and its error paths: the corruption series of Cloud Hypervisor in 2026, by number, and
// every single failing operation of the writes that change most.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/endian.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "tests/support/faulty_file.h"
#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::FaultPlan;
using testing::FaultyFile;
using testing::make_qcow2;
using testing::MemoryFile;
using testing::open_qcow2;
using testing::read_disk;
using testing::run_now;
using testing::write_disk;

constexpr uint64_t kCluster = 512;
constexpr uint64_t kSize = 1 << 20;

Qcow2CreateOptions small_clusters() { return {.size_bytes = kSize, .cluster_bits = 9}; }

struct Counts {
  uint64_t corruptions = 0;
  uint64_t leaks = 0;
};
Counts check(const Bytes& image) {
  MemoryFile file(image);
  const auto header = run_now(qcow2::ImageHeader::read(file)).value();
  const auto result = run_now(qcow2::check_image(file, *header)).value();
  return {result.findings.corruptions, result.leaks};
}

struct Opened {
  explicit Opened(const Bytes& image) : start(image) {
    auto memory = std::make_unique<MemoryFile>(image);
    file = memory.get();
    disk = open_qcow2(std::make_unique<FaultyFile>(std::move(memory), plan)).value();
  }
  Result<void> close() { return run_now(disk->close()); }

  const Bytes start;
  FaultPlan plan;
  MemoryFile* file;
  std::unique_ptr<Qcow2Disk> disk;
};

// 8637, 8721, 8748: a failed allocation left a table in L1 that no refcount counted.
TEST(CloudHypervisor8637, TableIsCountedBeforeItIsReferred) {
  Opened opened(make_qcow2(small_clusters()));
  ASSERT_TRUE(write_disk(*opened.disk, 0, Bytes(kCluster, 0x11)));
  ASSERT_TRUE(run_now(opened.disk->flush()));
  for (size_t n = 0; n <= opened.plan.log.size(); ++n)
    EXPECT_EQ(check(opened.plan.replay(opened.start, n)).corruptions, 0U) << n;
}

TEST(CloudHypervisor8721, FullDiskLeavesNothingThatIsUncounted) {
  for (unsigned fail_at = 1; fail_at < 20; ++fail_at) {
    SCOPED_TRACE(fail_at);
    Opened opened(make_qcow2(small_clusters()));
    opened.plan.fail_at = fail_at;
    opened.plan.error = ENOSPC;
    opened.plan.sticky = true;
    (void)write_disk(*opened.disk, 0, Bytes(3 * kCluster, 0x11));
    (void)opened.close();
    EXPECT_EQ(check(opened.file->bytes()).corruptions, 0U);
    const auto again = open_qcow2(opened.file->bytes());
    ASSERT_TRUE(again) << again.error().message();
    // What counts as free there is free: new data damages nothing.
    ASSERT_TRUE(write_disk(**again, 100 * kCluster, Bytes(kCluster, 0x22)));
    EXPECT_TRUE(run_now((*again)->close()));
  }
}

// 8606: the allocator had clusters of live L2 tables in its list.
TEST(CloudHypervisor8606, LiveTablesAreNeverAllocated) {
  Opened opened(make_qcow2(small_clusters()));
  Bytes model(kSize);
  for (uint64_t at = 0; at < kSize; at += 64 * kCluster) {
    ASSERT_TRUE(write_disk(*opened.disk, at, Bytes(kCluster, 0x33)));
    ASSERT_TRUE(run_now(opened.disk->flush()));
    std::fill_n(model.begin() + static_cast<ptrdiff_t>(at), kCluster, uint8_t{0x33});
  }
  ASSERT_TRUE(opened.close());
  EXPECT_EQ(check(opened.file->bytes()).corruptions, 0U);
  EXPECT_EQ(*read_disk(*open_qcow2(opened.file->bytes()).value()), model);
}

// 8624: a hole that was punched late erased a cluster that was in use again.
TEST(CloudHypervisor8624, DiscardedClusterIsReusedOnlyAfterItsHole) {
  Opened opened(make_qcow2(small_clusters()));
  ASSERT_TRUE(write_disk(*opened.disk, 0, Bytes(8 * kCluster, 0x44)));
  ASSERT_TRUE(run_now(opened.disk->flush()));
  ASSERT_TRUE(run_now(opened.disk->discard(0, 8 * kCluster)));
  // Not committed: the old places may not be taken yet.
  ASSERT_TRUE(write_disk(*opened.disk, 20 * kCluster, Bytes(8 * kCluster, 0x55)));
  ASSERT_TRUE(run_now(opened.disk->flush()));
  ASSERT_TRUE(write_disk(*opened.disk, 40 * kCluster, Bytes(8 * kCluster, 0x66)));
  ASSERT_TRUE(opened.close());
  const auto disk = open_qcow2(opened.file->bytes()).value();
  EXPECT_EQ(*read_disk(*disk, 20 * kCluster, 8 * kCluster), Bytes(8 * kCluster, 0x55));
  EXPECT_EQ(*read_disk(*disk, 40 * kCluster, 8 * kCluster), Bytes(8 * kCluster, 0x66));
  EXPECT_EQ(check(opened.file->bytes()).leaks, 0U);
}

// 8597: clusters that tables had left were never used again.
TEST(CloudHypervisor8597, RewritingDoesNotGrowTheFile) {
  Opened opened(make_qcow2(small_clusters()));
  uint64_t size_after_first = 0;
  for (unsigned round = 0; round < 20; ++round) {
    ASSERT_TRUE(write_disk(*opened.disk, 0, Bytes(64 * kCluster, 0x77)));
    ASSERT_TRUE(run_now(opened.disk->flush()));
    if (round == 0) size_after_first = opened.file->size_bytes();
    ASSERT_TRUE(run_now(opened.disk->discard(0, 64 * kCluster)));
    ASSERT_TRUE(run_now(opened.disk->flush()));
  }
  EXPECT_LE(opened.file->size_bytes(), size_after_first + 130 * kCluster);
  ASSERT_TRUE(opened.close());
  EXPECT_EQ(check(opened.file->bytes()).leaks, 0U);
}

// 7526: COPIED was missing in L1, so that every write copied the table again.
TEST(CloudHypervisor7526, NewTablesAreMarkedCopied) {
  Opened opened(make_qcow2(small_clusters()));
  ASSERT_TRUE(write_disk(*opened.disk, 0, Bytes(kCluster, 0x11)));
  ASSERT_TRUE(opened.close());
  const Bytes& image = opened.file->bytes();
  Be64 l1_offset;
  std::copy_n(image.begin() + 40, 8, reinterpret_cast<uint8_t*>(&l1_offset));
  EXPECT_EQ(image.at(l1_offset.get()) & 0x80, 0x80);
}

// 6354: the feature bit got lost.
TEST(CloudHypervisor6354, LazyRefcountsBitSurvivesWrites) {
  Qcow2CreateOptions options = small_clusters();
  options.lazy_refcounts = true;
  Opened opened(make_qcow2(options));
  ASSERT_TRUE(write_disk(*opened.disk, 0, Bytes(kCluster, 0x11)));
  ASSERT_TRUE(opened.close());
  MemoryFile file(opened.file->bytes());
  const auto header = run_now(qcow2::ImageHeader::read(file)).value();
  EXPECT_TRUE(header->lazy_refcounts());
  EXPECT_FALSE(header->dirty());
  EXPECT_EQ(check(file.bytes()).corruptions, 0U);
  EXPECT_EQ(check(file.bytes()).leaks, 0U);
}

// Clusters that were counted ahead are given back, and the file ends where it did.
TEST(Qcow2Allocation, ReserveIsGivenBackAtClose) {
  Opened opened(make_qcow2({.size_bytes = kSize, .cluster_bits = 12}));
  ASSERT_TRUE(write_disk(*opened.disk, 0, Bytes(4096, 0x11)));
  ASSERT_TRUE(run_now(opened.disk->flush()));
  EXPECT_GT(check(opened.file->bytes()).leaks, 0U);
  ASSERT_TRUE(opened.close());
  EXPECT_EQ(check(opened.file->bytes()).leaks, 0U);
  // Header, refcount table and block, L1, L2, data.
  EXPECT_EQ(opened.file->size_bytes(), 6U * 4096);
}

unsigned flushes_of_one_more_write(Disk& disk, FaultPlan& plan) {
  CHECK(write_disk(disk, 0, Bytes(4096, 0x11)).has_value());
  CHECK(run_now(disk.flush()).has_value());
  plan.log.clear();
  CHECK(write_disk(disk, 65536, Bytes(4096, 0x22)).has_value());
  CHECK(run_now(disk.flush()).has_value());
  return static_cast<unsigned>(
      std::ranges::count(plan.log, FaultPlan::Kind::kFlush, &FaultPlan::Entry::kind));
}

TEST(Qcow2Allocation, FlushOfAllocatingWriteIsOneFlush) {
  Opened opened(make_qcow2({.size_bytes = kSize}));
  EXPECT_EQ(flushes_of_one_more_write(*opened.disk, opened.plan), 1U);
}

TEST(Qcow2Allocation, DataThatHidesABackingFileIsFlushedFirst) {
  Opened opened(make_qcow2({.size_bytes = kSize, .backing_name = "b", .backing_format = "raw"}));
  opened.disk->set_backing(std::make_unique<testing::MemoryDisk>(kSize));
  EXPECT_EQ(flushes_of_one_more_write(*opened.disk, opened.plan), 2U);
}

// Each changing operation and each read of one write fails once; whatever happened, the image is
// valid, and the bytes that were not written are what they were.
struct FaultCase {
  const char* name;
  Qcow2CreateOptions options;
  bool snapshot = false;
  bool backing = false;
};
void PrintTo(const FaultCase& one, std::ostream* out) { *out << one.name; }

class Qcow2SingleFault : public ::testing::TestWithParam<FaultCase> {
 protected:
  static constexpr uint64_t kOffset = 40000;
  static constexpr size_t kBytes = 9000;

  void SetUp() override {
    Qcow2CreateOptions options = GetParam().options;
    if (GetParam().backing) options.backing_name = "base", options.backing_format = "raw";
    image_ = make_qcow2(options);
    before_.assign(kSize, GetParam().backing ? 0x10 : 0);
    if (!GetParam().snapshot) return;
    Opened opened(image_);
    add_backing(*opened.disk);
    ASSERT_TRUE(write_disk(*opened.disk, 0, Bytes(kSize / 2, 0x20)));
    std::fill_n(before_.begin(), kSize / 2, uint8_t{0x20});
    ASSERT_TRUE(run_now(qcow2::create_snapshot(opened.disk->parts(), {.name = "one"})));
    ASSERT_TRUE(opened.close());
    image_ = opened.file->bytes();
  }
  static void add_backing(Qcow2Disk& disk) {
    if (!GetParam().backing) return;
    auto base = std::make_unique<testing::MemoryDisk>(kSize);
    std::ranges::fill(base->bytes, uint8_t{0x10});
    disk.set_backing(std::move(base));
  }
  // True: the fault did not come to pass.
  bool write_with(unsigned fail_at, unsigned fail_read_at, int error) {
    Opened opened(image_);
    add_backing(*opened.disk);
    opened.plan.fail_at = fail_at;
    opened.plan.fail_read_at = fail_read_at;
    opened.plan.error = error;
    Bytes expected = before_;
    const auto written = write_disk(*opened.disk, kOffset, Bytes(kBytes, 0x77));
    if (written) std::fill_n(expected.begin() + kOffset, kBytes, uint8_t{0x77});
    const auto flushed = run_now(opened.disk->flush());
    const auto now = read_disk(*opened.disk);
    EXPECT_TRUE(!now || matches(*now, expected, written.has_value()));
    const bool closed = opened.close().has_value();
    EXPECT_EQ(check(opened.file->bytes()).corruptions, 0U);
    const auto again = open_qcow2(opened.file->bytes());
    EXPECT_TRUE(again) << again.error().message();
    if (again) {
      add_backing(**again);
      const bool durable = written && (flushed || closed);
      EXPECT_TRUE(matches(*read_disk(**again), expected, durable));
    }
    return opened.plan.fail_at != 0 || opened.plan.fail_read_at != 0;
  }
  // Without `all` the range of the write is open.
  static bool matches(const Bytes& data, const Bytes& expected, bool all) {
    for (size_t i = 0; i < data.size(); ++i)
      if (data[i] != expected[i] && (all || i < kOffset || i >= kOffset + kBytes)) return false;
    return true;
  }

  Bytes image_;
  Bytes before_;
};

TEST_P(Qcow2SingleFault, AnyFailingChangeLeavesAValidImage) {
  for (unsigned fail_at = 1;; ++fail_at) {
    SCOPED_TRACE(fail_at);
    ASSERT_LT(fail_at, 500U);
    const bool passed = write_with(fail_at, 0, ENOSPC);
    if (HasFailure() || passed) break;
    (void)write_with(fail_at, 0, EIO);
  }
}

TEST_P(Qcow2SingleFault, AnyFailingReadLeavesAValidImage) {
  for (unsigned fail_at = 1;; ++fail_at) {
    SCOPED_TRACE(fail_at);
    ASSERT_LT(fail_at, 500U);
    if (write_with(0, fail_at, EIO) || HasFailure()) break;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Writes, Qcow2SingleFault,
    ::testing::Values(FaultCase{"new cluster", {.size_bytes = kSize}},
                      FaultCase{"refcount table grows",
                                {.size_bytes = kSize, .cluster_bits = 9, .refcount_order = 6}},
                      FaultCase{
                          "copy on write", {.size_bytes = kSize, .cluster_bits = 14}, false, true},
                      FaultCase{"shared tables", {.size_bytes = kSize, .cluster_bits = 12}, true},
                      FaultCase{"shared subclusters",
                                {.size_bytes = kSize, .cluster_bits = 14, .extended_l2 = true},
                                true,
                                true}));

}  // namespace
}  // namespace hull::blockcore
