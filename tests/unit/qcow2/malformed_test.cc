// Images that contradict themselves, one class a test: a Result that names file, structure and
// offset, nothing overwritten that the image needs, bounded memory. header_test.cc has the fields
// of the header.
#include <gtest/gtest.h>
#include <zlib.h>

#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/format/l2_entry.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore {
namespace {

using testing::Bytes;
using testing::MemoryFile;
using testing::run_now;

uint64_t load(const Bytes& image, uint64_t offset) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value = value << 8 | image[offset + i];
  return value;
}
void store(Bytes& image, uint64_t offset, uint64_t value) {
  for (size_t i = 0; i < 8; ++i) image[offset + i] = static_cast<uint8_t>(value >> (56 - 8 * i));
}

// A disk of 64 clusters, of which the first eight hold 0x11.
struct Victim {
  explicit Victim(uint32_t bits = 12) : cluster_bits(bits), cluster(uint64_t{1} << bits) {
    auto file = std::make_unique<MemoryFile>(
        testing::make_qcow2({.size_bytes = 64 * cluster, .cluster_bits = bits}));
    MemoryFile& memory = *file;
    const auto disk = testing::open_qcow2(std::move(file));
    CHECK(testing::write_disk(**disk, 0, Bytes(8 * cluster, 0x11)).has_value());
    CHECK(run_now((*disk)->close()).has_value());
    image = memory.bytes();
    l1 = load(image, 40);
    l2 = load(image, l1) & qcow2::kOffsetMask;
    refcount_table = load(image, 48);
    refcount_block = load(image, refcount_table);
  }
  uint32_t cluster_bits;
  uint64_t cluster;
  Bytes image;
  uint64_t l1 = 0;
  uint64_t l2 = 0;
  uint64_t refcount_table = 0;
  uint64_t refcount_block = 0;
};

// Writes everywhere, and returns the file as it is afterwards.
Bytes use(const Bytes& image, Result<void>* first_write = nullptr) {
  auto file = std::make_unique<MemoryFile>(image, "victim", image.size() + (1 << 20));
  MemoryFile& memory = *file;
  const auto disk = testing::open_qcow2(std::move(file));
  if (!disk) {
    if (first_write != nullptr) *first_write = std::unexpected(disk.error());
    return image;
  }
  const uint64_t size = std::min<uint64_t>((*disk)->size_bytes(), 1 << 18);
  auto written = testing::write_disk(**disk, 0, Bytes(100, 0x22));
  if (first_write != nullptr) *first_write = std::move(written);
  (void)testing::write_disk(**disk, size / 2, Bytes(size / 2, 0x33));
  (void)run_now((*disk)->write_zeroes(size / 3, size / 3, true));
  (void)run_now((*disk)->discard(0, size / 4));
  (void)run_now((*disk)->close());
  return memory.bytes();
}

uint64_t corruptions(const Bytes& image) {
  MemoryFile file(image);
  const auto header = run_now(qcow2::ImageHeader::read(file));
  const auto checked = run_now(qcow2::check_image(file, **header));
  return checked ? checked->findings.corruptions : ~uint64_t{0};
}

// The first `bytes` of a structure, but for the feature bits that mark an image corrupt.
void expect_kept(const Bytes& before, const Bytes& after, uint64_t offset, uint64_t bytes) {
  for (uint64_t i = offset; i < offset + bytes; ++i)
    if (i < 72 || i >= 80) {
      ASSERT_EQ(after[i], before[i]) << "byte " << i;
    }
}

TEST(Qcow2Malformed, FileCutOffAtAnySectorGivesErrorsZerosOrWhatWasThere) {
  const Victim victim(9);
  for (size_t length = 0; length < victim.image.size(); length += 512) {
    SCOPED_TRACE(length);
    const Bytes cut(victim.image.begin(), victim.image.begin() + static_cast<ptrdiff_t>(length));
    if (const auto disk = testing::open_qcow2(cut, {.read_only = true})) {
      for (uint64_t at = 0; at < (*disk)->size_bytes(); at += 512) {
        const auto data = testing::read_disk(**disk, at, 512);
        if (!data) continue;
        const uint8_t first = data->front();
        EXPECT_TRUE(first == 0 || (first == 0x11 && at < 8 * 512));
        EXPECT_TRUE(std::ranges::all_of(*data, [first](uint8_t byte) { return byte == first; }));
      }
    }
    (void)use(cut);
  }
}

TEST(Qcow2Malformed, L1EntryThatPointsAtTheL1TableDestroysNothing) {
  Victim victim;
  store(victim.image, victim.l1, victim.l1 | qcow2::kCopiedFlag);
  EXPECT_GT(corruptions(victim.image), 0U);
  const Bytes after = use(victim.image);
  expect_kept(victim.image, after, 0, 512);
  EXPECT_EQ(load(after, victim.l1), load(victim.image, victim.l1));
}

TEST(Qcow2Malformed, DataInsideTheTablesIsNeverWritten) {
  const Victim intact;
  const std::pair<const char*, uint64_t> places[] = {{"L1", intact.l1},
                                                     {"L2", intact.l2},
                                                     {"refcount table", intact.refcount_table},
                                                     {"refcount block", intact.refcount_block}};
  for (const auto& [name, place] : places) {
    SCOPED_TRACE(name);
    Bytes image = intact.image;
    store(image, intact.l2, place | qcow2::kCopiedFlag);
    EXPECT_GT(corruptions(image), 0U);
    Result<void> written;
    const Bytes after = use(image, &written);
    ASSERT_FALSE(written);
    EXPECT_EQ(written.error().kind(), ErrorKind::kCorrupt);
    EXPECT_NE(written.error().message().find("victim"), std::string::npos);
    EXPECT_EQ(written.error().message().find('\n'), std::string::npos);
    expect_kept(image, after, place, 100);
  }
}

TEST(Qcow2Malformed, RefcountBlockAtZeroIsRefused) {
  Victim victim;
  store(victim.image, victim.refcount_table, 0);
  EXPECT_GT(corruptions(victim.image), 0U);
  const Bytes after = use(victim.image);
  expect_kept(victim.image, after, 0, 512);
}

TEST(Qcow2Malformed, HeaderThatCountsAsFreeIsNotAllocated) {
  Victim victim;
  victim.image[victim.refcount_block] = 0;
  victim.image[victim.refcount_block + 1] = 0;
  const Bytes after = use(victim.image);
  expect_kept(victim.image, after, 0, 512);
}

TEST(Qcow2Malformed, TablesOutsideTheFileAreNamed) {
  Victim victim;
  store(victim.image, victim.l2, (uint64_t{1} << 55) | qcow2::kCopiedFlag);
  store(victim.image, victim.l2 + 8, (uint64_t{1} << 40) | 512 | qcow2::kCopiedFlag);
  EXPECT_GT(corruptions(victim.image), 0U);
  const auto disk = testing::open_qcow2(victim.image, {.read_only = true});
  ASSERT_TRUE(disk);
  const auto data = testing::read_disk(**disk, victim.cluster, 512);
  ASSERT_FALSE(data) << "an entry that is not aligned";
  EXPECT_EQ(data.error().kind(), ErrorKind::kCorrupt);
  EXPECT_NE(data.error().message().find("guest offset 0x1000"), std::string::npos)
      << data.error().message();
  EXPECT_TRUE(testing::read_disk(**disk, 2 * victim.cluster, 512)) << "the rest of the disk";
}

TEST(Qcow2Malformed, PetabytesCostNoMemory) {
  const Bytes image = testing::make_qcow2({.size_bytes = uint64_t{1} << 50, .cluster_bits = 21});
  EXPECT_LT(image.size(), size_t{16} << 20);
  const auto disk = testing::open_qcow2(image);
  ASSERT_TRUE(disk) << disk.error().message();
  const uint64_t end = (*disk)->size_bytes();
  EXPECT_EQ(*testing::read_disk(**disk, end - 512, 512), Bytes(512));
  ASSERT_TRUE(testing::write_disk(**disk, end - 512, Bytes(512, 7)));
  EXPECT_EQ(*testing::read_disk(**disk, end - 512, 512), Bytes(512, 7));
  ASSERT_TRUE(run_now((*disk)->close()));
}

// Replaces the data of the first cluster by a deflate stream of `bytes` bytes of 0x44.
uint64_t put_stream(Victim& victim, size_t bytes) {
  const uint64_t host = load(victim.image, victim.l2) & qcow2::kOffsetMask;
  Bytes plain(bytes, 0x44);
  z_stream stream{};
  CHECK(deflateInit2(&stream, 9, Z_DEFLATED, -15, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  stream.next_in = plain.data();
  stream.avail_in = static_cast<uInt>(plain.size());
  stream.next_out = victim.image.data() + host;
  stream.avail_out = static_cast<uInt>(victim.cluster);
  CHECK(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  const uint64_t sectors = (victim.cluster - stream.avail_out + 511) / 512;
  deflateEnd(&stream);
  return qcow2::kCompressedFlag | (sectors - 1) << (62 - (victim.cluster_bits - 8)) | host;
}

TEST(Qcow2Malformed, CompressedClustersThatShareOneStreamReadOneClusterEach) {
  Victim victim(16);
  // A thousand times larger than it is, and claimed by all clusters of the disk.
  const uint64_t entry = put_stream(victim, 8 << 20);
  for (uint64_t i = 0; i < 64; ++i) store(victim.image, victim.l2 + 8 * i, entry);
  const auto disk = testing::open_qcow2(victim.image, {.read_only = true});
  ASSERT_TRUE(disk);
  EXPECT_EQ(*testing::read_disk(**disk), Bytes(64 * victim.cluster, 0x44));
}

TEST(Qcow2Malformed, StreamThatEndsEarlyIsAnErrorWithItsPlace) {
  Victim victim(16);
  store(victim.image, victim.l2, put_stream(victim, 1000));
  const auto disk = testing::open_qcow2(victim.image, {.read_only = true});
  ASSERT_TRUE(disk);
  const auto data = testing::read_disk(**disk, 100, 100);
  ASSERT_FALSE(data);
  EXPECT_EQ(data.error().kind(), ErrorKind::kCorrupt);
  EXPECT_NE(data.error().message().find("guest offset 0x64"), std::string::npos)
      << data.error().message();
}

TEST(Qcow2Malformed, SnapshotThatSharesTheActiveTableIsFound) {
  Victim victim;
  const uint64_t table = victim.image.size();
  victim.image.resize(table + victim.cluster);
  store(victim.image, table, victim.l1);
  victim.image[table + 11] = 1;  // L1 entries
  victim.image[63] = 1;          // snapshots
  store(victim.image, 64, table);
  EXPECT_GT(corruptions(victim.image), 0U);
  (void)use(victim.image);
}

}  // namespace
}  // namespace hull::blockcore
