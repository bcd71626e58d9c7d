#include <gtest/gtest.h>

#include <random>

#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/data/compressor.h"
#include "blockcore/qcow2/edit/bitmap_store.h"
#include "blockcore/qcow2/edit/resize.h"
#include "tests/support/faulty_file.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore::qcow2 {
namespace {

using testing::Bytes;
using testing::FaultPlan;
using testing::FaultyFile;
using testing::make_qcow2;
using testing::MemoryFile;
using testing::open_qcow2;
using testing::run_now;
using testing::write_disk;

constexpr uint64_t kSize = 1 << 20;

struct Opened {
  MemoryFile* memory;
  std::unique_ptr<Qcow2Disk> disk;
};

Opened open_memory(Bytes image, FaultPlan* plan = nullptr) {
  auto memory = std::make_unique<MemoryFile>(std::move(image));
  Opened opened{memory.get(), nullptr};
  std::unique_ptr<File> file = std::move(memory);
  if (plan != nullptr) file = std::make_unique<FaultyFile>(std::move(file), *plan);
  auto disk = open_qcow2(std::move(file));
  CHECK(disk.has_value());
  opened.disk = *std::move(disk);
  return opened;
}

StoredBitmap new_bitmap(const std::string& name, uint32_t granularity_bits, bool enabled) {
  return {{.name = name, .enabled = enabled, .granularity_bits = granularity_bits},
          BitmapBits(bitmap_bytes(kSize, granularity_bits))};
}

// "on" and "off" with 4 KiB a bit, and "coarse", enabled, with 64 KiB.
Bytes image_with_bitmaps(uint32_t cluster_bits = 16) {
  const Opened opened =
      open_memory(make_qcow2({.size_bytes = kSize, .cluster_bits = cluster_bits}));
  std::vector<StoredBitmap> bitmaps;
  bitmaps.push_back(new_bitmap("on", 12, true));
  bitmaps.push_back(new_bitmap("off", 12, false));
  bitmaps.push_back(new_bitmap("coarse", 16, true));
  CHECK(run_now(save_bitmaps(opened.disk->parts(), std::move(bitmaps))).has_value());
  CHECK(run_now(opened.disk->close()).has_value());
  return opened.memory->bytes();
}

std::vector<Bitmap> bitmaps_of(File& file) {
  const auto header = run_now(ImageHeader::read(file));
  CHECK(header.has_value());
  auto directory = run_now(read_bitmap_directory(file, **header));
  CHECK(directory.has_value());
  return std::move(directory->bitmaps);
}

// A bit for each, or what is wrong.
Result<std::vector<bool>> bits_of(File& file, const Bitmap& bitmap) {
  const auto header = run_now(ImageHeader::read(file));
  CHECK(header.has_value());
  const BitmapBits bits = TRY(run_now(load_bits(file, **header, bitmap)));
  std::vector<bool> result;
  for (uint64_t at = 0; at << bitmap.granularity_bits < kSize; ++at)
    result.push_back((bits[at / 8] >> (at % 8) & std::byte{1}) != std::byte{0});
  return result;
}

uint64_t count_of(File& file, const Bitmap& bitmap) {
  const auto bits = bits_of(file, bitmap);
  CHECK(bits.has_value());
  return static_cast<uint64_t>(std::ranges::count(*bits, true));
}

void expect_sound(File& file, bool leaks_allowed) {
  const auto header = run_now(ImageHeader::read(file));
  ASSERT_TRUE(header);
  const auto checked = run_now(check_image(file, **header));
  ASSERT_TRUE(checked) << checked.error().message();
  EXPECT_EQ(checked->findings.corruptions, 0U) << checked->findings.messages.front();
  if (!leaks_allowed) {
    EXPECT_EQ(checked->leaks, 0U) << checked->findings.messages.front();
  }
}

TEST(Qcow2Bitmaps, CompressedWritesAreRecorded) {
  const Opened opened = open_memory(image_with_bitmaps());
  Compressor compressor(CompressionType::kZlib);
  std::vector<std::byte> stream(65536);
  const size_t length = compressor.compress(std::vector<std::byte>(65536, std::byte{7}), stream);
  const std::vector<CompressedCluster> clusters{{65536 * 3, std::span(stream).first(length)}};
  ASSERT_TRUE(run_now(opened.disk->write_compressed(clusters)));
  ASSERT_TRUE(run_now(opened.disk->close()));
  const std::vector<Bitmap> bitmaps = bitmaps_of(*opened.memory);
  EXPECT_EQ(count_of(*opened.memory, bitmaps.at(0)), 16U);
  EXPECT_EQ(count_of(*opened.memory, bitmaps.at(1)), 0U);
  EXPECT_EQ(count_of(*opened.memory, bitmaps.at(2)), 1U);
}

TEST(Qcow2Bitmaps, ResizingTakesThemAlong) {
  Bytes image;
  {
    const Opened opened = open_memory(image_with_bitmaps());
    ASSERT_TRUE(write_disk(*opened.disk, 0, Bytes(4096)));
    ASSERT_TRUE(write_disk(*opened.disk, kSize - 4096, Bytes(4096)));
    ASSERT_TRUE(run_now(opened.disk->close()));
    image = opened.memory->bytes();
  }
  for (const uint64_t size : {kSize - 512, kSize / 2 + 512, kSize}) {
    const Opened opened = open_memory(image);
    ASSERT_TRUE(run_now(resize(opened.disk->parts(), {.size_bytes = size}))) << size;
    ASSERT_TRUE(run_now(opened.disk->close()));
    image = opened.memory->bytes();
    expect_sound(*opened.memory, false);
    if (size == kSize - 512) {
      EXPECT_EQ(count_of(*opened.memory, bitmaps_of(*opened.memory).at(0)), 2U);
    }
  }
  MemoryFile file(image);
  const std::vector<Bitmap> bitmaps = bitmaps_of(file);
  ASSERT_EQ(bitmaps.size(), 3U);
  // What was cut off is forgotten, and what was added is clear.
  EXPECT_EQ(count_of(file, bitmaps[0]), 1U);
  EXPECT_EQ(count_of(file, bitmaps[2]), 1U);
  EXPECT_FALSE(bitmaps[1].enabled);
}

TEST(Qcow2Bitmaps, OneInUseKeepsTheDiskFromBeingResized) {
  const Opened opened = open_memory(image_with_bitmaps());
  ASSERT_TRUE(write_disk(*opened.disk, 0, Bytes(4096)));
  for (const uint64_t size : {kSize / 2, kSize * 2}) {
    const auto resized = run_now(resize(opened.disk->parts(), {.size_bytes = size}));
    ASSERT_FALSE(resized);
    EXPECT_EQ(resized.error().kind(), ErrorKind::kCorrupt);
  }
  EXPECT_EQ(opened.disk->size_bytes(), kSize);
  ASSERT_TRUE(run_now(opened.disk->close()));
  EXPECT_EQ(count_of(*opened.memory, bitmaps_of(*opened.memory).at(0)), 1U);
  expect_sound(*opened.memory, false);
}

TEST(Qcow2Bitmaps, WritesAreRecordedByThoseThatAreEnabled) {
  const Opened opened = open_memory(image_with_bitmaps());
  Qcow2Disk& disk = *opened.disk;
  ASSERT_TRUE(write_disk(disk, 4096 * 3 + 1, Bytes(4096)));         // 2 of 4 KiB
  ASSERT_TRUE(run_now(disk.write_zeroes(4096 * 100, 4096, true)));  // 1
  ASSERT_TRUE(run_now(disk.discard(4096 * 200, 4096 * 2)));         // 2
  ASSERT_TRUE(write_disk(disk, kSize - 1, Bytes(1)));               // 1
  ASSERT_TRUE(run_now(disk.close()));
  const std::vector<Bitmap> bitmaps = bitmaps_of(*opened.memory);
  ASSERT_EQ(bitmaps.size(), 3U);
  for (const Bitmap& bitmap : bitmaps) EXPECT_FALSE(bitmap.in_use) << bitmap.name;
  EXPECT_EQ(count_of(*opened.memory, bitmaps[0]), 6U);
  EXPECT_EQ(count_of(*opened.memory, bitmaps[1]), 0U);
  EXPECT_EQ(count_of(*opened.memory, bitmaps[2]), 4U);
  expect_sound(*opened.memory, false);
}

TEST(Qcow2Bitmaps, RecordGrowsOverSessions) {
  Bytes image = image_with_bitmaps(9);
  std::mt19937 random(1);
  std::vector<bool> expected(kSize / 4096);
  for (unsigned session = 0; session < 5; ++session) {
    const Opened opened = open_memory(std::move(image));
    for (unsigned i = 0; i < 6; ++i) {
      const uint64_t offset = random() % (kSize - 20000);
      const uint64_t length = 1 + random() % 20000;
      ASSERT_TRUE(write_disk(*opened.disk, offset, Bytes(length, 1)));
      for (uint64_t at = offset / 4096; at <= (offset + length - 1) / 4096; ++at)
        expected[at] = true;
    }
    ASSERT_TRUE(run_now(opened.disk->close()));
    EXPECT_EQ(*bits_of(*opened.memory, bitmaps_of(*opened.memory)[0]), expected);
    expect_sound(*opened.memory, false);
    image = opened.memory->bytes();
  }
}

// The only one there is, and it cannot be read: the file says so before the guest writes.
TEST(Qcow2Bitmaps, OneThatIsGivenUpIsMarkedInTheFile) {
  for (const bool damaged : {false, true}) {
    SCOPED_TRACE(damaged);
    FaultPlan plan;
    Bytes image = make_qcow2({.size_bytes = kSize});
    {
      const Opened opened = open_memory(std::move(image));
      std::vector<StoredBitmap> bitmaps;
      bitmaps.push_back(new_bitmap("only", 12, true));
      (*bitmaps[0].bits)[0] = std::byte{1};
      ASSERT_TRUE(run_now(save_bitmaps(opened.disk->parts(), std::move(bitmaps))));
      ASSERT_TRUE(run_now(opened.disk->close()));
      image = opened.memory->bytes();
      if (damaged) image[bitmaps_of(*opened.memory)[0].table_offset + 7] |= 0x10;
    }
    const Opened opened = open_memory(std::move(image), &plan);
    // The fourth read from now: header and directory are known, the table or the bits are next.
    if (!damaged) plan.fail_read_at = 3;
    ASSERT_TRUE(write_disk(*opened.disk, 0, Bytes(65536, 0x5a)));
    EXPECT_EQ(plan.fail_read_at, 0U);
    for (int closed = 0; closed < 2; ++closed) {
      const auto header = run_now(ImageHeader::read(*opened.memory)).value();
      if ((header->autoclear & kAutoclearBitmaps) != 0) {
        EXPECT_TRUE(bitmaps_of(*opened.memory)[0].in_use);
      }
      ASSERT_TRUE(run_now(opened.disk->close()));
    }
  }
}

// As large as QEMU makes them.
TEST(Qcow2Bitmaps, SizeIsLimitedAsElsewhere) {
  constexpr uint64_t kDisk = uint64_t{2} << 40;  // 512 MiB of bits for its sectors
  MemoryFile file(make_qcow2({.size_bytes = kDisk}));
  const auto header = run_now(ImageHeader::read(file)).value();
  Bitmap bitmap{.name = "large", .granularity_bits = 9};
  bitmap.table_entries = static_cast<uint32_t>(bitmap_table_entries(*header, bitmap));
  bitmap.table_offset = 65536;
  file.bytes().resize(file.size_bytes() + (1 << 20));
  const uint64_t table = file.size_bytes() - (1 << 20);
  bitmap.table_offset = table;
  EXPECT_TRUE(run_now(load_bits(file, *header, bitmap)));
  bitmap.granularity_bits = 8;
  EXPECT_FALSE(run_now(load_bits(file, *header, bitmap)));
}

TEST(Qcow2Bitmaps, ReadingChangesNothing) {
  const Bytes image = image_with_bitmaps();
  const Opened opened = open_memory(image);
  ASSERT_TRUE(testing::read_disk(*opened.disk));
  ASSERT_TRUE(run_now(opened.disk->close()));
  EXPECT_EQ(opened.memory->bytes(), image);
}

// Either a bitmap says that it knows nothing, or it knows everything that was written.
TEST(Qcow2Bitmaps, CrashNeverLeavesOneThatLies) {
  const Bytes image = image_with_bitmaps(12);
  FaultPlan plan;
  const Opened opened = open_memory(image, &plan);
  ASSERT_TRUE(write_disk(*opened.disk, 50000, Bytes(10000, 1)));
  ASSERT_TRUE(run_now(opened.disk->flush()));
  ASSERT_TRUE(write_disk(*opened.disk, 500000, Bytes(10000, 1)));
  ASSERT_TRUE(run_now(opened.disk->close()));
  std::mt19937 random(1);
  const auto check = [&](const Bytes& survivor) {
    const Opened again = open_memory(survivor);
    const Bytes data = *testing::read_disk(*again.disk);
    std::vector<bool> changed(kSize / 4096);
    for (uint64_t at = 0; at < kSize; ++at)
      if (data[at] != 0) changed[at / 4096] = true;
    for (const Bitmap& bitmap : bitmaps_of(*again.memory)) {
      if (bitmap.in_use || bitmap.name != "on") continue;
      const auto bits = bits_of(*again.memory, bitmap);
      ASSERT_TRUE(bits) << bits.error().message();
      for (size_t i = 0; i < changed.size(); ++i) ASSERT_TRUE(!changed[i] || (*bits)[i]) << i;
    }
    expect_sound(*again.memory, true);
  };
  for (size_t crash = 0; crash <= plan.log.size(); ++crash) {
    SCOPED_TRACE(crash);
    check(plan.replay(image, crash));
    check(plan.replay_reordered(image, crash, [&](size_t) { return random() % 2; }));
    if (HasFatalFailure()) return;
  }
}

TEST(Qcow2Bitmaps, FailureKeepsTheImageSound) {
  const Bytes image = image_with_bitmaps(12);
  for (unsigned fail_at = 1;; ++fail_at) {
    SCOPED_TRACE(fail_at);
    FaultPlan plan;
    const Opened opened = open_memory(image, &plan);
    plan.fail_at = fail_at;
    const bool written = write_disk(*opened.disk, 50000, Bytes(10000, 1)).has_value();
    const bool closed = run_now(opened.disk->close()).has_value();
    const bool failed = plan.fail_at == 0;
    expect_sound(*opened.memory, failed);
    const Bitmap on = bitmaps_of(*opened.memory)[0];
    if (written && !on.in_use) {
      EXPECT_EQ(count_of(*opened.memory, on), 3U);
    }
    if (!failed) {
      EXPECT_TRUE(written && closed);
      break;
    }
  }
}

TEST(Qcow2Bitmaps, ThoseOfAnotherSizeAreGivenUp) {
  MemoryFile file(image_with_bitmaps());
  auto header = run_now(ImageHeader::read(file));
  ASSERT_TRUE(header);
  ASSERT_TRUE(
      run_now(header->set_mapping(file, kSize / 2, (*header)->l1_offset, (*header)->l1_entries)));
  EXPECT_TRUE(bitmaps_of(file).empty());
}

TEST(Qcow2Bitmaps, MergeTakesAnotherGranularity) {
  BitmapBits fine(bitmap_bytes(kSize, 12));
  BitmapBits coarse(bitmap_bytes(kSize, 16));
  set_bits(fine, 12, 4096 * 17, 1);
  merge_bits(coarse, 16, fine, 12, kSize);
  EXPECT_EQ(coarse[0], std::byte{0b10});
  BitmapBits back(bitmap_bytes(kSize, 12));
  merge_bits(back, 12, coarse, 16, kSize);
  EXPECT_EQ(back[1], std::byte{0});
  EXPECT_EQ(back[2], std::byte{0xff});
  EXPECT_EQ(back[3], std::byte{0xff});
  EXPECT_EQ(back[4], std::byte{0});
}

TEST(Qcow2Bitmaps, LyingDirectoryIsRefused) {
  const Bytes image = image_with_bitmaps();
  MemoryFile intact(image);
  const auto header = run_now(ImageHeader::read(intact));
  ASSERT_TRUE(header);
  const auto directory = run_now(read_bitmap_directory(intact, **header));
  ASSERT_TRUE(directory);
  // Offset in the first entry, and a value that cannot be right.
  const std::pair<size_t, uint8_t> lies[] = {{0, 0xff},  {7, 1},     {8, 0xff}, {11, 0},
                                             {12, 0x80}, {15, 8},    {16, 2},   {17, 8},
                                             {17, 32},   {18, 0xff}, {20, 1},   {23, 1}};
  for (const auto& [at, value] : lies) {
    SCOPED_TRACE(at);
    Bytes lying = image;
    lying[directory->offset + at] = value;
    MemoryFile file(lying);
    EXPECT_FALSE(run_now(read_bitmap_directory(file, **header)));
    // The guest's data matters more: the image can be written to all the same.
    const Opened opened = open_memory(lying);
    ASSERT_TRUE(write_disk(*opened.disk, 0, Bytes(4096, 1)));
    ASSERT_TRUE(run_now(opened.disk->close()));
    EXPECT_TRUE(bitmaps_of(*opened.memory).empty());
  }
}

}  // namespace
}  // namespace hull::blockcore::qcow2
