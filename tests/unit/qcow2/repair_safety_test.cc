// A repair looks first and writes afterwards: whatever a damaged field makes it take for a table,
// the disk reads as before, and what it cannot mend stays as it is and is reported.
#include <gtest/gtest.h>

#include <random>

#include "base/endian.h"
#include "blockcore/qcow2/check/check.h"
#include "blockcore/qcow2/data/compressor.h"
#include "blockcore/qcow2/edit/snapshots.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore {
namespace {

using qcow2::CheckResult;
using qcow2::Repair;
using testing::Bytes;
using testing::MemoryFile;
using testing::run_now;

uint64_t word(const Bytes& image, uint64_t offset) {
  Be64 raw;
  std::memcpy(&raw, image.data() + offset, sizeof raw);
  return raw;
}
void set_word(Bytes& image, uint64_t offset, uint64_t value) {
  const Be64 raw = value;
  std::memcpy(image.data() + offset, &raw, sizeof raw);
}
void set_half(Bytes& image, uint64_t offset, uint32_t value) {
  const Be32 raw = value;
  std::memcpy(image.data() + offset, &raw, sizeof raw);
}
uint32_t l1_entries(const Bytes& image) { return static_cast<uint32_t>(word(image, 36) >> 32); }
uint64_t l2_table(const Bytes& image) { return word(image, word(image, 40)) & qcow2::kOffsetMask; }

Bytes read_all(const Bytes& image) {
  auto disk = testing::open_qcow2(image, {.read_only = true});
  return testing::read_disk(**disk).value_or(Bytes{});
}

struct Repaired {
  Result<CheckResult> result;
  Bytes image;
  uint64_t corruptions() const { return result ? result->findings.corruptions : ~uint64_t{0}; }
};
Repaired repair(const Bytes& image, Repair what) {
  MemoryFile file(image);
  auto header = run_now(qcow2::ImageHeader::read(file));
  if (!header) return {std::unexpected(header.error()), image};
  auto result = run_now(qcow2::repair_image(file, *header, what));
  return {std::move(result), file.bytes()};
}
Result<CheckResult> check(const Bytes& image) {
  MemoryFile file(image);
  const auto header = run_now(qcow2::ImageHeader::read(file));
  if (!header) return std::unexpected(header.error());
  return run_now(qcow2::check_image(file, **header));
}

// What ordinary files hold: many of its words look like entries of a table.
Bytes plausible_data(size_t bytes) {
  std::mt19937 random{11};
  Bytes data(bytes);
  for (size_t at = 0; at + 8 <= bytes; at += 8) {
    const uint64_t kind = random() % 4;
    uint64_t value = (uint64_t{random()} << 32 | random()) >> (kind * 16);
    if (kind == 1) value = random() % 64 << 16 | 0x201;
    if (kind == 2) value = random() % 64 << 12 | random() % 2;
    const Be64 raw = value;
    std::memcpy(data.data() + at, &raw, sizeof raw);
  }
  return data;
}

Bytes image_with_data(const Qcow2CreateOptions& options, const Bytes& data, bool snapshot) {
  auto file = std::make_unique<MemoryFile>(testing::make_qcow2(options));
  MemoryFile& memory = *file;
  const auto disk = testing::open_qcow2(std::move(file)).value();
  if (snapshot) CHECK(run_now(qcow2::create_snapshot(disk->parts(), {.name = "s1"})).has_value());
  CHECK(testing::write_disk(*disk, 0, data).has_value());
  CHECK(run_now(disk->close()).has_value());
  return memory.bytes();
}

class Qcow2RepairFields : public ::testing::TestWithParam<uint32_t> {};

TEST_P(Qcow2RepairFields, SizeOfASnapshotsL1TableMakesNoDataATable) {
  const uint32_t bits = GetParam();
  const Bytes image = image_with_data({.size_bytes = 8 << 20, .cluster_bits = bits},
                                      plausible_data(1900 << 10), true);
  const Bytes before = read_all(image);
  for (const uint32_t entries : {0x1001U, 0x4001U, 0x8000U, 0x30001U}) {
    SCOPED_TRACE(entries);
    Bytes damaged = image;
    set_half(damaged, word(image, 64) + 8, entries);
    for (const Repair what : {Repair::kLeaks, Repair::kAll}) {
      const Repaired after = repair(damaged, what);
      // What its own last cluster holds is zeros.
      if (uint64_t{entries} * 8 > uint64_t{1} << bits) {
        EXPECT_NE(after.corruptions(), 0U);
      }
      EXPECT_TRUE(read_all(after.image) == before);
      if (HasFailure()) return;
    }
  }
}

TEST_P(Qcow2RepairFields, SizeOfTheActiveL1TableMakesNoDataATable) {
  const uint32_t bits = GetParam();
  for (const Bytes& data : {Bytes(512 << 10, 0x33), plausible_data(512 << 10)}) {
    const Bytes image = image_with_data({.size_bytes = 8 << 20, .cluster_bits = bits}, data, false);
    const Bytes before = read_all(image);
    for (const uint32_t entries : {0x400U, 0x2001U}) {
      SCOPED_TRACE(entries);
      Bytes damaged = image;
      set_half(damaged, 36, entries);
      // What lies past the end of the file nobody opens.
      if (word(image, 40) + uint64_t{entries} * 8 > image.size()) continue;
      Repaired after = repair(damaged, Repair::kAll);
      if (uint64_t{entries} * 8 > uint64_t{1} << bits) {
        EXPECT_NE(after.corruptions(), 0U);
      }
      // Not every such image can be opened; the disk is there all the same.
      set_half(after.image, 36, l1_entries(image));
      EXPECT_TRUE(read_all(after.image) == before);
      if (HasFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Clusters, Qcow2RepairFields, ::testing::Values(12U, 16U));

// What would be read there are the header's own fields.
TEST(Qcow2RepairSnapshotTable, SnapshotWhoseTableIsTheHeaderIsNotRead) {
  Bytes image = image_with_data({.size_bytes = 8 << 20, .cluster_bits = 12}, Bytes(4096, 1), true);
  const SnapshotChoice choice{.name = "s1"};
  ASSERT_TRUE(testing::open_qcow2(image, {.read_only = true, .snapshot = choice}));
  set_word(image, word(image, 64), 0);
  EXPECT_FALSE(testing::open_qcow2(image, {.read_only = true, .snapshot = choice}));
}

// Copies that were cut off: what is missing may still come.
TEST(Qcow2RepairTruncated, FileStaysAsItIs) {
  const Bytes image =
      image_with_data({.size_bytes = 4 << 20}, Bytes(1 << 20, 1), /*snapshot=*/false);
  for (const size_t cut : {200000U, 262144U, 300000U, 327680U, 400000U, 1000000U}) {
    SCOPED_TRACE(cut);
    Bytes truncated = image;
    truncated.resize(cut);
    EXPECT_EQ(check(truncated)->leaks, 0U);
    for (const Repair what : {Repair::kLeaks, Repair::kAll}) {
      const Repaired after = repair(truncated, what);
      ASSERT_TRUE(after.result);
      EXPECT_NE(after.corruptions(), 0U);
      EXPECT_EQ(after.result->leaks_fixed, 0U);
      EXPECT_TRUE(after.image == truncated);
    }
  }
}

TEST(Qcow2RepairTruncated, CutInsideAnL2TableFreesNothing) {
  // Data first, so that the last table is the last thing in the file.
  const Bytes image = image_with_data({.size_bytes = 4 << 20, .cluster_bits = 12},
                                      Bytes(1 << 20, 1), /*snapshot=*/false);
  const uint64_t table = l2_table(image);
  Bytes truncated = image;
  truncated.resize(table + 512);
  for (const Repair what : {Repair::kLeaks, Repair::kAll}) {
    const Repaired after = repair(truncated, what);
    ASSERT_TRUE(after.result);
    EXPECT_EQ(after.result->leaks_fixed, 0U);
  }
}

TEST(Qcow2Repair, TableThatCannotBeReadKeepsItsClusters) {
  // Two L2 tables; the first is lost, and with it who uses the data.
  auto file = std::make_unique<MemoryFile>(
      testing::make_qcow2({.size_bytes = 8 << 20, .cluster_bits = 12}));
  MemoryFile& memory = *file;
  auto disk = testing::open_qcow2(std::move(file)).value();
  ASSERT_TRUE(testing::write_disk(*disk, 0, Bytes(64 << 10, 1)));
  ASSERT_TRUE(testing::write_disk(*disk, 4 << 20, Bytes(64 << 10, 2)));
  ASSERT_TRUE(run_now(disk->close()));
  const Bytes good = memory.bytes();
  const uint64_t l1 = word(good, 40);
  for (const bool broken_refcounts : {false, true}) {
    Bytes damaged = good;
    set_word(damaged, l1, word(good, l1) | 512);
    if (broken_refcounts) set_word(damaged, word(good, 48), word(good, word(good, 48)) | 1);
    for (const Repair what : {Repair::kLeaks, Repair::kAll}) {
      Repaired after = repair(damaged, what);
      ASSERT_TRUE(after.result);
      EXPECT_NE(after.corruptions() + after.result->needs_rebuild, 0U);
      if (after.result->needs_rebuild) continue;
      // What is written now does not come to lie on what the lost table refers to.
      set_word(after.image, word(after.image, 40) + 8, word(good, l1 + 8));
      auto again = std::make_unique<MemoryFile>(after.image);
      MemoryFile& written = *again;
      disk = testing::open_qcow2(std::move(again)).value();
      (void)testing::write_disk(*disk, 6 << 20, Bytes(64 << 10, 3));
      (void)run_now(disk->close());
      Bytes mended = written.bytes();
      set_word(mended, word(mended, 40), word(good, l1));
      const Bytes now = read_all(mended);
      EXPECT_TRUE(std::ranges::equal(std::span(now).first(64 << 10), Bytes(64 << 10, 1)));
    }
  }
}

// Extended L2 entries: none of these is replaced, as each may still hold data.
struct ExtendedCase {
  const char* name;
  bool compressed;
  uint64_t write_offset;
  uint64_t write_bytes;
  uint64_t entry;   // cluster
  uint64_t value;   // xor
  uint64_t bitmap;  // xor
};
void PrintTo(const ExtendedCase& one, std::ostream* out) { *out << one.name; }

Bytes extended_image(bool compressed, uint64_t offset, uint64_t bytes) {
  auto file = std::make_unique<MemoryFile>(
      testing::make_qcow2({.size_bytes = 1 << 20, .extended_l2 = true}));
  MemoryFile& memory = *file;
  const auto disk = testing::open_qcow2(std::move(file)).value();
  if (compressed) {
    const Bytes data(64 << 10, 0x5a);
    Bytes stream(64 << 10);
    qcow2::Compressor compressor(qcow2::CompressionType::kZlib);
    const size_t length = compressor.compress(std::as_bytes(std::span(data)),
                                              std::as_writable_bytes(std::span(stream)));
    const qcow2::CompressedCluster cluster{offset, std::as_bytes(std::span(stream)).first(length)};
    CHECK(run_now(disk->write_compressed({&cluster, 1})).has_value());
  } else if (bytes != 0) {
    CHECK(testing::write_disk(*disk, offset, Bytes(bytes, 0x5a)).has_value());
  } else {
    CHECK(run_now(disk->write_zeroes(offset, 64 << 10, false)).has_value());
  }
  CHECK(run_now(disk->close()).has_value());
  return memory.bytes();
}

class Qcow2RepairExtended : public ::testing::TestWithParam<ExtendedCase> {};

TEST_P(Qcow2RepairExtended, EntryWithDataStaysAndIsReported) {
  const ExtendedCase& one = GetParam();
  Bytes image = extended_image(one.compressed, one.write_offset, one.write_bytes);
  const uint64_t at = l2_table(image) + one.entry * 16;
  set_word(image, at, word(image, at) ^ one.value);
  set_word(image, at + 8, word(image, at + 8) ^ one.bitmap);
  const Repaired after = repair(image, Repair::kAll);
  ASSERT_TRUE(after.result);
  EXPECT_EQ(after.corruptions(), 1U);
  EXPECT_EQ(after.result->leaks_fixed, 0U);
  EXPECT_EQ(word(after.image, at), word(image, at));
  EXPECT_EQ(word(after.image, at + 8), word(image, at + 8));
  EXPECT_EQ(check(after.image)->findings.corruptions, 1U);
}

INSTANTIATE_TEST_SUITE_P(
    Entries, Qcow2RepairExtended,
    ::testing::Values(ExtendedCase{"zero_beside_data", false, 0, 64 << 10, 0, 0, uint64_t{1} << 63},
                      ExtendedCase{"data_without_place", false, 64 << 10, 64 << 10, 0, 0, 1},
                      ExtendedCase{"bitmap_of_compressed", true, 0, 0, 0, 0, uint64_t{1} << 63},
                      ExtendedCase{"misaligned_data", false, 0, 64 << 10, 0, 512, 0}));

TEST(Qcow2RepairExtended, MisalignedPlaceWithoutDataGoesAndZerosStay) {
  Bytes image = extended_image(false, 4 << 10, 2 << 10);
  const uint64_t at = l2_table(image);
  ASSERT_EQ(word(image, at + 8), 4U);  // subcluster 2
  set_word(image, at, word(image, at) | 512);
  set_word(image, at + 8, uint64_t{4} << 32);
  const Repaired after = repair(image, Repair::kAll);
  ASSERT_TRUE(after.result);
  EXPECT_EQ(after.corruptions(), 0U);
  EXPECT_EQ(word(after.image, at), 0U);
  EXPECT_EQ(word(after.image, at + 8), uint64_t{4} << 32);
  EXPECT_EQ(check(after.image)->findings.corruptions + check(after.image)->leaks, 0U);
}

}  // namespace
}  // namespace hull::blockcore
