// Extended L2 entries: what is copied, what the bitmaps say, what QEMU makes of it and hull of
// QEMU's. The model and crash tests run over this geometry as well.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "base/endian.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/format/l2_entry.h"
#include "tests/support/memory_disk.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore {
namespace {

using qcow2::ClusterKind;
using qcow2::L2Entry;
using testing::Bytes;
using testing::MemoryFile;
using testing::open_qcow2;
using testing::read_disk;
using testing::run_now;
using testing::write_disk;

constexpr uint64_t kCluster = 64 << 10;
constexpr uint64_t kSubcluster = kCluster / 32;
constexpr uint64_t kSize = 1 << 20;

uint64_t load(const Bytes& image, uint64_t offset) {
  Be64 value;
  std::memcpy(&value, image.data() + offset, sizeof value);
  return value;
}
void store(Bytes& image, uint64_t offset, uint64_t value) {
  const Be64 raw = value;
  std::memcpy(image.data() + offset, &raw, sizeof raw);
}
uint64_t l2_place(const Bytes& image, uint64_t cluster) {
  return (load(image, load(image, 40)) & qcow2::kOffsetMask) + cluster * 16;
}
L2Entry l2_entry(const Bytes& image, uint64_t cluster) {
  const uint64_t place = l2_place(image, cluster);
  return {load(image, place), load(image, place + 8)};
}

// An overlay with 64 KiB clusters over a backing disk of 0x11.
struct Overlay {
  explicit Overlay(bool with_backing = true) {
    Qcow2CreateOptions options{.size_bytes = kSize, .extended_l2 = true};
    if (with_backing) {
      options.backing_name = "base";
      options.backing_format = "raw";
    }
    reopen(testing::make_qcow2(options), with_backing);
  }
  void reopen(const Bytes& image, bool with_backing = true) {
    auto memory = std::make_unique<MemoryFile>(image);
    file = memory.get();
    auto opened = open_qcow2(std::move(memory));
    CHECK(opened.has_value());
    disk = *std::move(opened);
    if (!with_backing) return;
    auto base = std::make_unique<testing::MemoryDisk>(kSize);
    std::ranges::fill(base->bytes, uint8_t{0x11});
    backing = base.get();
    disk->set_backing(std::move(base));
  }
  // After a commit.
  L2Entry entry(uint64_t cluster) {
    CHECK(run_now(disk->flush()).has_value());
    return l2_entry(file->bytes(), cluster);
  }

  MemoryFile* file = nullptr;
  testing::MemoryDisk* backing = nullptr;
  std::unique_ptr<Qcow2Disk> disk;
};

uint64_t corruptions(const Bytes& image) {
  MemoryFile file(image);
  auto header = run_now(qcow2::ImageHeader::read(file));
  CHECK(header.has_value());
  return run_now(qcow2::check_image(file, **header)).value().findings.corruptions;
}

TEST(ExtendedL2Entry, KindsOfSubclustersFollowTheBitmap) {
  const L2Entry entry{0x50000, L2Entry::make_bitmap(0x0000000f, 0x00000030)};
  EXPECT_EQ(entry.subcluster_kind(0), ClusterKind::kNormal);
  EXPECT_EQ(entry.subclusters_alike(0), 4U);
  EXPECT_EQ(entry.subcluster_kind(4), ClusterKind::kZero);
  EXPECT_EQ(entry.subclusters_alike(5), 1U);
  EXPECT_EQ(entry.subcluster_kind(6), ClusterKind::kUnallocated);
  EXPECT_EQ(entry.subclusters_alike(6), 26U);
  EXPECT_EQ((L2Entry{0x50000, 0xffffffff}).subclusters_alike(0), 32U);
}

TEST(ExtendedL2, SmallWriteCopiesOnlyItsSubclusters) {
  Overlay overlay;
  ASSERT_TRUE(write_disk(*overlay.disk, 3 * kCluster + 4096, Bytes(4096, 0x22)));
  EXPECT_EQ(overlay.backing->reads, 0U);
  EXPECT_EQ(overlay.entry(3).bitmap, L2Entry::make_bitmap(0b1100, 0));
  ASSERT_TRUE(write_disk(*overlay.disk, 3 * kCluster + 10 * kSubcluster + 1, Bytes(100, 0x33)));
  EXPECT_EQ(overlay.entry(3).bitmap, L2Entry::make_bitmap(0b10000001100, 0));
  Bytes expected(kCluster, 0x11);
  std::fill_n(expected.begin() + 4096, 4096, uint8_t{0x22});
  std::fill_n(expected.begin() + 10 * kSubcluster + 1, 100, uint8_t{0x33});
  EXPECT_EQ(*read_disk(*overlay.disk, 3 * kCluster, kCluster), expected);
}

TEST(ExtendedL2, SecondWriteUsesTheSameHostCluster) {
  Overlay overlay;
  ASSERT_TRUE(write_disk(*overlay.disk, 0, Bytes(kSubcluster, 0x22)));
  const uint64_t host = overlay.entry(0).host_offset();
  ASSERT_TRUE(write_disk(*overlay.disk, 8 * kSubcluster, Bytes(kSubcluster, 0x33)));
  EXPECT_EQ(overlay.entry(0).host_offset(), host);
  EXPECT_EQ(overlay.entry(0).bitmap, L2Entry::make_bitmap(0x101, 0));
}

TEST(ExtendedL2, WriteZeroesMarksSubclusters) {
  Overlay overlay;
  ASSERT_TRUE(write_disk(*overlay.disk, 0, Bytes(kCluster, 0x22)));
  ASSERT_TRUE(run_now(overlay.disk->write_zeroes(kSubcluster, 2 * kSubcluster, true)));
  EXPECT_EQ(overlay.entry(0).bitmap, L2Entry::make_bitmap(0xfffffff9, 0b110));
  // In a cluster that has no host cluster yet: none is allocated.
  ASSERT_TRUE(run_now(overlay.disk->write_zeroes(kCluster + kSubcluster, kSubcluster, false)));
  EXPECT_EQ(overlay.entry(1), (L2Entry{0, L2Entry::make_bitmap(0, 0b10)}));
  Bytes expected(kCluster, 0x22);
  std::fill_n(expected.begin() + kSubcluster, 2 * kSubcluster, uint8_t{0});
  EXPECT_EQ(*read_disk(*overlay.disk, 0, kCluster), expected);
}

TEST(ExtendedL2, DiscardOfTheLastSubclusterFreesTheHostCluster) {
  Overlay overlay;
  ASSERT_TRUE(write_disk(*overlay.disk, 0, Bytes(2 * kSubcluster, 0x22)));
  ASSERT_TRUE(run_now(overlay.disk->discard(0, kSubcluster)));
  EXPECT_NE(overlay.entry(0).host_offset(), 0U);
  ASSERT_TRUE(run_now(overlay.disk->discard(kSubcluster, kSubcluster)));
  // The backing file must not shine through.
  EXPECT_EQ(overlay.entry(0), (L2Entry{0, L2Entry::make_bitmap(0, 0b11)}));
}

TEST(ExtendedL2, WriteZeroesThatKeepsTheSpaceKeepsTheHostCluster) {
  Overlay overlay;
  ASSERT_TRUE(write_disk(*overlay.disk, 0, Bytes(kCluster, 0x22)));
  const uint64_t host = overlay.entry(0).host_offset();
  ASSERT_TRUE(run_now(overlay.disk->write_zeroes(0, kCluster, false)));
  EXPECT_EQ(overlay.entry(0).host_offset(), host);
  EXPECT_EQ(overlay.entry(0).bitmap, L2Entry::make_bitmap(0, 0xffffffff));
  ASSERT_TRUE(write_disk(*overlay.disk, kSubcluster, Bytes(kSubcluster, 0x33)));
  EXPECT_EQ(overlay.entry(0).host_offset(), host);
  EXPECT_EQ(overlay.entry(0).bitmap, L2Entry::make_bitmap(0b10, 0xfffffffd));
}

// A snapshot refers to the host cluster: COPIED is clear.
TEST(ExtendedL2, SharedClusterMovesWithTheSubclustersThatHaveData) {
  Overlay overlay;
  ASSERT_TRUE(write_disk(*overlay.disk, 4 * kSubcluster, Bytes(2 * kSubcluster, 0x22)));
  ASSERT_TRUE(run_now(overlay.disk->write_zeroes(20 * kSubcluster, kSubcluster, false)));
  const L2Entry before = overlay.entry(0);
  Bytes image = overlay.file->bytes();
  store(image, l2_place(image, 0), before.value & ~qcow2::kCopiedFlag);
  overlay.reopen(image);
  ASSERT_TRUE(write_disk(*overlay.disk, 8 * kSubcluster, Bytes(kSubcluster, 0x33)));
  const L2Entry after = overlay.entry(0);
  EXPECT_NE(after.host_offset(), before.host_offset());
  EXPECT_EQ(after.bitmap, L2Entry::make_bitmap(0b111110000, 1 << 20));
  Bytes expected(kCluster, 0x11);
  std::fill_n(expected.begin() + 4 * kSubcluster, 2 * kSubcluster, uint8_t{0x22});
  std::fill_n(expected.begin() + 8 * kSubcluster, kSubcluster, uint8_t{0x33});
  std::fill_n(expected.begin() + 20 * kSubcluster, kSubcluster, uint8_t{0});
  EXPECT_EQ(*read_disk(*overlay.disk, 0, kCluster), expected);
}

struct BadBitmap {
  const char* name;
  uint64_t value_and;
  uint64_t bitmap;
};
void PrintTo(const BadBitmap& one, std::ostream* out) { *out << one.name; }

class ExtendedL2Invalid : public ::testing::TestWithParam<BadBitmap> {};

TEST_P(ExtendedL2Invalid, EntryIsAnErrorAndFoundByCheck) {
  Overlay overlay;
  ASSERT_TRUE(write_disk(*overlay.disk, 0, Bytes(kCluster, 0x22)));
  const L2Entry entry = overlay.entry(0);
  Bytes image = overlay.file->bytes();
  const uint64_t place = l2_place(image, 0);
  store(image, place, entry.value & GetParam().value_and);
  store(image, place + 8, GetParam().bitmap);
  overlay.reopen(image);
  const auto data = read_disk(*overlay.disk, 0, 512);
  ASSERT_FALSE(data);
  EXPECT_EQ(data.error().kind(), ErrorKind::kCorrupt);
  EXPECT_GE(corruptions(image), 1U);
}

INSTANTIATE_TEST_SUITE_P(Entries, ExtendedL2Invalid,
                         ::testing::Values(BadBitmap{"both bits", ~uint64_t{0},
                                                     uint64_t{1} << 32 | 1},
                                           BadBitmap{"allocated without offset", 0, 1}));

TEST(ExtendedL2, PreallocatedClustersStillReadFromTheBackingFile) {
  Overlay overlay;
  overlay.reopen(testing::make_qcow2({.size_bytes = kSize,
                                      .extended_l2 = true,
                                      .backing_name = "base",
                                      .backing_format = "raw",
                                      .preallocation = Preallocation::kMetadata}));
  EXPECT_EQ(*read_disk(*overlay.disk, 0, 512), Bytes(512, 0x11));
  const uint64_t host = overlay.entry(0).host_offset();
  ASSERT_NE(host, 0U);
  ASSERT_TRUE(write_disk(*overlay.disk, 0, Bytes(kSubcluster, 0x22)));
  EXPECT_EQ(overlay.entry(0).host_offset(), host);
  EXPECT_EQ(*read_disk(*overlay.disk, kSubcluster, 512), Bytes(512, 0x11));
}

TEST(ExtendedL2, ImageOfQemuReadsAlike) {
  if (!testing::have_qemu_img()) GTEST_SKIP() << "no qemu-img";
  const testing::TemporaryDirectory directory;
  Bytes data(kSize);
  for (size_t i = 0; i < kSize; ++i) data[i] = static_cast<uint8_t>(i / 512 * 7 + i % 13);
  // Holes of subclusters, and of clusters.
  std::fill_n(data.begin() + kCluster / 2, kSubcluster * 3, uint8_t{0});
  std::fill_n(data.begin() + 4 * kCluster, 2 * kCluster, uint8_t{0});
  testing::save_file(directory / "raw", data);
  const auto converted = testing::run_command(
      "qemu-img convert -S 512 -O qcow2 -o extended_l2=on " + (directory / "raw") + " " +
      (directory / "image") + " && qemu-img bench -w -c 20 -s 2048 -S 71680 -d 1 --pattern=90 " +
      "-f qcow2 " + (directory / "image") + " && qemu-img convert -O raw " + (directory / "image") +
      " " + (directory / "expected"));
  ASSERT_EQ(converted.exit_code, 0) << converted.output;
  const Bytes image = testing::load_file(directory / "image");
  auto disk = open_qcow2(image);
  ASSERT_TRUE(disk) << disk.error().message();
  EXPECT_EQ(*read_disk(**disk), testing::load_file(directory / "expected"));
  EXPECT_EQ(corruptions(image), 0U);
}

}  // namespace
}  // namespace hull::blockcore
