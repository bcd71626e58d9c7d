// Writing compressed clusters: what is read back, what the refcounts say, and what a crash or a
// failing operation leaves.
#include "blockcore/qcow2/data/packer.h"

#include <gtest/gtest.h>

#include <random>

#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "blockcore/qcow2/format/image_header.h"
#include "tests/support/faulty_file.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::FaultPlan;
using testing::FaultyFile;
using testing::MemoryFile;
using testing::run_now;

struct PackCase {
  const char* name;
  uint32_t cluster_bits;
  uint32_t refcount_order;
  qcow2::CompressionType compression = qcow2::CompressionType::kZlib;
  bool extended_l2 = false;
};
void PrintTo(const PackCase& one, std::ostream* out) { *out << one.name; }

constexpr uint64_t kClusters = 40;

class Qcow2Pack : public ::testing::TestWithParam<PackCase> {
 protected:
  void SetUp() override {
    image_ = testing::make_qcow2({.size_bytes = kClusters * cluster_bytes(),
                                  .cluster_bits = GetParam().cluster_bits,
                                  .refcount_order = GetParam().refcount_order,
                                  .extended_l2 = GetParam().extended_l2,
                                  .compression = GetParam().compression});
    model_.assign(kClusters * cluster_bytes(), 0);
  }
  uint64_t cluster_bytes() const { return uint64_t{1} << GetParam().cluster_bits; }

  // Compresses to something between little and most of the cluster.
  Bytes contents() {
    Bytes bytes(cluster_bytes());
    const size_t noise = random_() % (cluster_bytes() * 3 / 4);
    for (size_t i = 0; i < noise; ++i) bytes[i] = static_cast<uint8_t>(random_());
    bytes.back() = 1;
    return bytes;
  }

  // Some clusters from `first` on, in one call; on success they are in the model.
  Result<void> pack(Qcow2Disk& disk, uint64_t first, uint64_t count) {
    qcow2::Compressor compressor(GetParam().compression);
    Bytes streams(count * cluster_bytes());
    std::vector<qcow2::CompressedCluster> clusters;
    Bytes after = model_;
    size_t used = 0;
    for (uint64_t cluster = first; cluster < first + count; ++cluster) {
      const Bytes bytes = contents();
      const auto out =
          std::as_writable_bytes(std::span(streams)).subspan(used, cluster_bytes() - 1);
      const size_t length = compressor.compress(std::as_bytes(std::span(bytes)), out);
      if (length == 0) continue;
      clusters.push_back({cluster * cluster_bytes(), out.first(length)});
      used += length;
      std::ranges::copy(bytes, after.begin() + static_cast<ptrdiff_t>(cluster * cluster_bytes()));
    }
    auto written = run_now(disk.write_compressed(clusters));
    if (written) model_ = std::move(after);
    return written;
  }

  static void expect_sound(const Bytes& image, bool no_leaks) {
    MemoryFile file(image);
    const auto header = run_now(qcow2::ImageHeader::read(file));
    ASSERT_TRUE(header) << header.error().message();
    const auto checked = run_now(qcow2::check_image(file, **header));
    ASSERT_TRUE(checked) << checked.error().message();
    ASSERT_EQ(checked->findings.corruptions, 0U) << checked->findings.messages.front();
    if (no_leaks) {
      EXPECT_EQ(checked->leaks, 0U);
    }
  }

  std::mt19937 random_{3};
  Bytes image_;
  Bytes model_;
};

TEST_P(Qcow2Pack, PackedClustersAreReadBackAndCounted) {
  auto file = std::make_unique<MemoryFile>(image_);
  MemoryFile& memory = *file;
  const auto disk = testing::open_qcow2(std::move(file)).value();
  ASSERT_TRUE(pack(*disk, 0, 7));
  ASSERT_TRUE(pack(*disk, 9, 20));
  EXPECT_EQ(testing::read_disk(*disk).value(), model_);
  ASSERT_TRUE(run_now(disk->close()));
  expect_sound(memory.bytes(), true);
  const auto again = testing::open_qcow2(memory.bytes()).value();
  EXPECT_EQ(testing::read_disk(*again).value(), model_);
}

// A snapshot held the last of what was packed, and others have got the place since.
TEST_P(Qcow2Pack, NothingIsAddedToAPlaceThatASnapshotGaveBack) {
  const auto disk = testing::open_qcow2(image_).value();
  ASSERT_TRUE(pack(*disk, 0, 3));
  if (!run_now(create_snapshot(disk->parts(), {.name = "s"}))) return;  // refcounts of a bit
  ASSERT_TRUE(run_now(disk->write_zeroes(0, 3 * cluster_bytes(), /*may_unmap=*/true)));
  std::fill_n(model_.begin(), 3 * cluster_bytes(), uint8_t{0});
  ASSERT_TRUE(run_now(delete_snapshot(disk->parts(), 0)));
  const Bytes data(5 * cluster_bytes(), 0xaa);
  ASSERT_TRUE(testing::write_disk(*disk, 10 * cluster_bytes(), data));
  std::fill_n(model_.begin() + static_cast<ptrdiff_t>(10 * cluster_bytes()), data.size(),
              uint8_t{0xaa});
  ASSERT_TRUE(pack(*disk, 30, 5));
  EXPECT_EQ(testing::read_disk(*disk).value(), model_);
}

// Writes, zeroes, discards and packed writes in any order: places are freed and used again.
TEST_P(Qcow2Pack, MixedWithOtherWritesMatchesTheModel) {
  auto file = std::make_unique<MemoryFile>(image_);
  MemoryFile& memory = *file;
  const auto disk = testing::open_qcow2(std::move(file)).value();
  for (int step = 0; step < 120; ++step) {
    const uint64_t first = random_() % (kClusters - 4);
    const uint64_t offset = first * cluster_bytes() + random_() % 500;
    const uint64_t length = 1 + random_() % (3 * cluster_bytes());
    const auto part = std::span(model_).subspan(offset, length);
    switch (random_() % 4) {
      case 0: {
        const Bytes data(length, static_cast<uint8_t>(step));
        ASSERT_TRUE(testing::write_disk(*disk, offset, data));
        std::ranges::copy(data, part.begin());
        break;
      }
      case 1:
        ASSERT_TRUE(run_now(disk->write_zeroes(offset, length, true)));
        std::ranges::fill(part, uint8_t{0});
        break;
      case 2: ASSERT_TRUE(run_now(disk->flush())); break;
      default: ASSERT_TRUE(pack(*disk, first, 1 + random_() % 4)); break;
    }
  }
  EXPECT_EQ(testing::read_disk(*disk).value(), model_);
  ASSERT_TRUE(run_now(disk->close()));
  expect_sound(memory.bytes(), true);
}

TEST_P(Qcow2Pack, CrashLosesNothingThatWasFlushed) {
  FaultPlan plan;
  const Bytes before = image_;
  size_t flushed_at = 0;
  Bytes flushed;
  {
    const auto disk = testing::open_qcow2(
                          std::make_unique<FaultyFile>(std::make_unique<MemoryFile>(image_), plan))
                          .value();
    ASSERT_TRUE(pack(*disk, 0, 6));
    ASSERT_TRUE(run_now(disk->flush()));
    flushed_at = plan.log.size();
    flushed = model_;
    ASSERT_TRUE(pack(*disk, 6, 6));
    ASSERT_TRUE(run_now(disk->flush()));
  }
  for (size_t count = 0; count <= plan.log.size(); ++count) {
    expect_sound(plan.replay(before, count), false);
    const Bytes torn =
        plan.replay_reordered(before, count, [&](size_t) { return random_() % 2 == 0; });
    expect_sound(torn, false);
    if (count < flushed_at) continue;
    const auto disk = testing::open_qcow2(torn).value();
    const Bytes read = testing::read_disk(*disk, 0, 6 * cluster_bytes()).value();
    EXPECT_TRUE(std::equal(read.begin(), read.end(), flushed.begin())) << count;
  }
}

TEST_P(Qcow2Pack, FailureAtAnyPointLeavesASoundImage) {
  for (unsigned fail_at = 1; fail_at < 40; ++fail_at) {
    FaultPlan plan;
    plan.fail_at = fail_at;
    plan.error = ENOSPC;
    auto file = std::make_unique<MemoryFile>(image_);
    MemoryFile& memory = *file;
    model_.assign(model_.size(), 0);
    const auto disk =
        testing::open_qcow2(std::make_unique<FaultyFile>(std::move(file), plan)).value();
    // Whether one of these fails is open: clusters counted ahead are not needed, for one.
    (void)pack(*disk, 0, 6);
    (void)pack(*disk, 6, 6);
    (void)run_now(disk->close());
    expect_sound(memory.bytes(), false);
    if (plan.fail_at != 0) break;  // there are no more operations
    // What succeeded is still there, and the disk goes on.
    EXPECT_EQ(testing::read_disk(*disk).value(), model_) << fail_at;
    ASSERT_TRUE(pack(*disk, 20, 3));
    ASSERT_TRUE(run_now(disk->close()));
    EXPECT_EQ(testing::read_disk(*disk).value(), model_) << fail_at;
    expect_sound(memory.bytes(), false);
  }
}

INSTANTIATE_TEST_SUITE_P(Geometries, Qcow2Pack,
                         ::testing::Values(PackCase{"default", 16, 4}, PackCase{"small", 9, 4},
                                           PackCase{"width1", 12, 0}, PackCase{"width2", 12, 1},
                                           PackCase{"width64", 12, 6},
                                           PackCase{"zstd", 12, 4, qcow2::CompressionType::kZstd},
                                           PackCase{"extended", 14, 4,
                                                    qcow2::CompressionType::kZlib, true}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Compressor, NoiseDoesNotFit) {
  std::mt19937 random(5);
  Bytes noise(65536);
  for (uint8_t& byte : noise) byte = static_cast<uint8_t>(random());
  Bytes out(65535);
  for (const auto type : {qcow2::CompressionType::kZlib, qcow2::CompressionType::kZstd}) {
    qcow2::Compressor compressor(type);
    EXPECT_EQ(compressor.compress(std::as_bytes(std::span(noise)),
                                  std::as_writable_bytes(std::span(out))),
              0U);
  }
}

}  // namespace
}  // namespace hull::blockcore
