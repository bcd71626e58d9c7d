// A damaged image must not be damaged further: what a write would hit is found before the write,
// the image is marked corrupt, and nothing is written to it any more.
#include "blockcore/qcow2/alloc/overlap.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/endian.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/edit/bitmap_store.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "blockcore/qcow2/format/encryption.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::MemoryFile;
using testing::open_qcow2;
using testing::read_disk;
using testing::run_now;
using testing::write_disk;

constexpr uint64_t kCluster = 4096;
constexpr uint64_t kSize = 8 << 20;  // four L2 tables

uint64_t load(const Bytes& image, uint64_t offset) {
  Be64 value;
  std::memcpy(&value, image.data() + offset, sizeof value);
  return value;
}
void store(Bytes& image, uint64_t offset, uint64_t value) {
  const Be64 raw = value;
  std::memcpy(image.data() + offset, &raw, sizeof raw);
}
uint64_t l1_place(const Bytes& image, uint64_t index) { return load(image, 40) + index * 8; }
uint64_t l2_table(const Bytes& image, uint64_t index) {
  return load(image, l1_place(image, index)) & qcow2::kOffsetMask;
}
uint64_t refcount_table(const Bytes& image) { return load(image, 48); }
uint64_t refcount_block(const Bytes& image) { return load(image, refcount_table(image)); }

// Clusters 0 and 512 (of another L2 table) have data.
Bytes make_image(uint32_t version = 3) {
  auto file = std::make_unique<MemoryFile>(
      testing::make_qcow2({.size_bytes = kSize, .version = version, .cluster_bits = 12}));
  MemoryFile& memory = *file;
  const auto disk = open_qcow2(std::move(file)).value();
  CHECK(write_disk(*disk, 0, Bytes(kCluster, 0x11)).has_value());
  CHECK(write_disk(*disk, 512 * kCluster, Bytes(kCluster, 0x22)).has_value());
  CHECK(run_now(disk->close()).has_value());
  return memory.bytes();
}

struct Opened {
  explicit Opened(const Bytes& image) {
    auto memory = std::make_unique<MemoryFile>(image);
    file = memory.get();
    disk = open_qcow2(std::move(memory)).value();
  }
  bool marked() const {
    MemoryFile copy(file->bytes());
    return (*run_now(qcow2::ImageHeader::read(copy)))->corrupt();
  }
  MemoryFile* file;
  std::unique_ptr<Qcow2Disk> disk;
};

// The write at `offset` is refused, and from then on everything that would change the image; what
// it holds can still be read.
void expect_refused(const Bytes& image, uint64_t offset) {
  Opened opened(image);
  auto written = write_disk(*opened.disk, offset, Bytes(kCluster, 0x99));
  if (written) written = run_now(opened.disk->flush());
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().kind(), ErrorKind::kCorrupt) << written.error().message();
  EXPECT_TRUE(opened.marked());
  Bytes after = opened.file->bytes();
  after.resize(image.size());
  after[79] = image[79];  // incompatible_features
  EXPECT_EQ(after, image);
  EXPECT_EQ(write_disk(*opened.disk, 0, Bytes(512)).error().kind(), ErrorKind::kCorrupt);
  EXPECT_EQ(run_now(opened.disk->write_zeroes(0, 512, false)).error().kind(), ErrorKind::kCorrupt);
  EXPECT_EQ(run_now(opened.disk->discard(0, kCluster)).error().kind(), ErrorKind::kCorrupt);
  EXPECT_EQ(run_now(opened.disk->flush()).error().kind(), ErrorKind::kCorrupt);
  EXPECT_TRUE(read_disk(*opened.disk, 512 * kCluster, kCluster));
  EXPECT_EQ(open_qcow2(opened.file->bytes()).error().kind(), ErrorKind::kCorrupt);
  EXPECT_TRUE(open_qcow2(opened.file->bytes(), {.read_only = true}));
}

TEST(Qcow2Overlap, DataInARefcountBlockIsNotWritten) {
  Bytes image = make_image();
  store(image, l2_table(image, 0), refcount_block(image) | qcow2::kCopiedFlag);
  expect_refused(image, 0);
}

TEST(Qcow2Overlap, DataInAnL2TableIsNotWritten) {
  Bytes image = make_image();
  store(image, l2_table(image, 0), l2_table(image, 1) | qcow2::kCopiedFlag);
  expect_refused(image, 0);
}

TEST(Qcow2Overlap, DataInTheL1TableIsNotWritten) {
  Bytes image = make_image();
  store(image, l2_table(image, 0), load(image, 40) | qcow2::kCopiedFlag);
  expect_refused(image, 0);
}

TEST(Qcow2Overlap, DataInTheLuksHeaderIsNotWritten) {
  const std::byte passphrase{'s'};
  const auto secret = std::make_shared<const Secret>(Secret::copy({&passphrase, 1}).value());
  const Bytes image =
      testing::make_qcow2({.size_bytes = kSize,
                           .cluster_bits = 12,
                           .encryption = Qcow2Encryption{{.iteration_milliseconds = 1}, secret}});
  MemoryFile original(image);
  const auto header = run_now(qcow2::ImageHeader::read(original)).value();
  const auto area = qcow2::find_encryption_area(*header).value().value();
  auto memory = std::make_unique<MemoryFile>(image);
  MemoryFile& file = *memory;
  auto disk = open_qcow2(std::move(memory), {.secret = secret}).value();
  ASSERT_TRUE(write_disk(*disk, 0, Bytes(kCluster, 1)));
  ASSERT_TRUE(run_now(disk->close()));
  Bytes damaged = file.bytes();
  const uint64_t key_material = area.offset + kCluster * 2;
  store(damaged, l2_table(damaged, 0), key_material | qcow2::kCopiedFlag);

  disk = open_qcow2(std::make_unique<MemoryFile>(damaged), {.secret = secret}).value();
  auto written = write_disk(*disk, 0, Bytes(kCluster, 2));
  if (written) written = run_now(disk->flush());

  ASSERT_FALSE(written);
  EXPECT_NE(written.error().message().find("the LUKS header"), std::string::npos)
      << written.error().message();
}

TEST(Qcow2Overlap, DataInTheTableOfABitmapIsNotWritten) {
  Bytes image = make_image();
  {
    Opened opened(image);
    std::vector<qcow2::StoredBitmap> bitmaps(1);
    bitmaps[0].bitmap = {.name = "b", .granularity_bits = 16};
    bitmaps[0].bits.emplace(qcow2::bitmap_bytes(kSize, 16));
    ASSERT_TRUE(run_now(qcow2::save_bitmaps(opened.disk->parts(), std::move(bitmaps))));
    ASSERT_TRUE(run_now(opened.disk->close()));
    image = opened.file->bytes();
  }
  MemoryFile file(image);
  const auto header = run_now(qcow2::ImageHeader::read(file)).value();
  const auto directory = run_now(qcow2::read_bitmap_directory(file, *header)).value();
  for (const uint64_t place : {directory.offset, directory.bitmaps.at(0).table_offset}) {
    Bytes damaged = image;
    store(damaged, l2_table(damaged, 0), place | qcow2::kCopiedFlag);
    expect_refused(damaged, 0);
  }
}

TEST(Qcow2Overlap, KeptZeroClusterInAnL2TableIsNotWritten) {
  Bytes image = make_image();
  store(image, l2_table(image, 0), l2_table(image, 1) | qcow2::kCopiedFlag | qcow2::kZeroFlag);
  expect_refused(image, 0);
}

TEST(Qcow2Overlap, ClusterThatOnlyCountsAsFreeIsNotAllocated) {
  Bytes image = make_image();
  const uint64_t cluster = l2_table(image, 0) / kCluster;
  image[refcount_block(image) + cluster * 2 + 1] = 0;
  expect_refused(image, 100 * kCluster);
}

TEST(Qcow2Overlap, L2TableInARefcountBlockIsNotWritten) {
  Bytes image = make_image();
  store(image, l1_place(image, 0), refcount_block(image) | qcow2::kCopiedFlag);
  // As an L2 table the block's end says that nothing is mapped.
  expect_refused(image, 300 * kCluster);
}

TEST(Qcow2Overlap, RefcountBlockInAnL2TableIsNotWritten) {
  Bytes image = make_image();
  const uint64_t table = l2_table(image, 1);
  // Every refcount there is zero but the first few, so that the allocator takes it for a block.
  store(image, refcount_table(image), table);
  expect_refused(image, 100 * kCluster);
}

TEST(Qcow2Overlap, SnapshotsTablesAreNotWritten) {
  auto file = std::make_unique<MemoryFile>(make_image());
  MemoryFile& memory = *file;
  {
    const auto disk = open_qcow2(std::move(file)).value();
    ASSERT_TRUE(run_now(qcow2::create_snapshot(disk->parts(), {.name = "one"})));
    ASSERT_TRUE(run_now(disk->close()));
    Bytes image = memory.bytes();
    MemoryFile copy(image);
    const auto header = run_now(qcow2::ImageHeader::read(copy)).value();
    const auto table = run_now(qcow2::read_snapshot_table(copy, *header)).value();
    const uint64_t places[] = {header->snapshots_offset, table.snapshots.at(0).l1_offset};
    for (const uint64_t place : places) {
      SCOPED_TRACE(place);
      const uint64_t l2 = l2_table(image, 0);
      store(image, l1_place(image, 0), l2 | qcow2::kCopiedFlag);
      store(image, l2, place | qcow2::kCopiedFlag);
      expect_refused(image, 0);
    }
  }
}

TEST(Qcow2Overlap, EntryThatCannotBeTrueMarksTheImageOnlyWhenItIsWritten) {
  Bytes image = make_image();
  store(image, l2_table(image, 0), (l2_table(image, 0) + 512) | qcow2::kCopiedFlag);
  Opened opened(image);
  EXPECT_EQ(read_disk(*opened.disk, 0, 512).error().kind(), ErrorKind::kCorrupt);
  EXPECT_FALSE(opened.marked());
  expect_refused(image, 0);
}

TEST(Qcow2Overlap, MisalignedL2TableMarksTheImage) {
  Bytes image = make_image();
  store(image, l1_place(image, 0), (l2_table(image, 0) + 512) | qcow2::kCopiedFlag);
  expect_refused(image, 0);
}

TEST(Qcow2Overlap, Version2RefusesWritesWithoutTheBit) {
  Bytes image = make_image(2);
  store(image, l2_table(image, 0), refcount_block(image) | qcow2::kCopiedFlag);
  Opened opened(image);
  EXPECT_EQ(write_disk(*opened.disk, 0, Bytes(512)).error().kind(), ErrorKind::kCorrupt);
  EXPECT_EQ(write_disk(*opened.disk, 512 * kCluster, Bytes(512)).error().kind(),
            ErrorKind::kCorrupt);
  EXPECT_FALSE(opened.marked());
  EXPECT_EQ(opened.file->bytes(), image);
}

TEST(Qcow2HostTable, KnowsWhatItRefersTo) {
  MemoryFile file(Bytes(4096));
  qcow2::HostTable table;
  ASSERT_TRUE(run_now(table.read(file, 0, 4)));
  EXPECT_FALSE(table.refers_to(0x10000));
  table.set(0, 0x10000 | qcow2::kCopiedFlag);
  table.set(1, 0x10000);
  EXPECT_TRUE(table.refers_to(0x10000));
  table.set(0, 0x20000);
  EXPECT_TRUE(table.refers_to(0x10000));
  table.set(1, 0);
  EXPECT_FALSE(table.refers_to(0x10000));
  EXPECT_TRUE(table.refers_to(0x20000));
}

}  // namespace
}  // namespace hull::blockcore
