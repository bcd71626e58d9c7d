#include "blockcore/qcow2/format/image_header.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>

#include "base/endian.h"
#include "tests/support/faulty_file.h"
#include "tests/support/qcow2_images.h"
#include "tests/support/shuffled_file.h"
#include "tests/support/temporary_directory.h"

namespace hull::blockcore::qcow2 {
namespace {

using testing::Bytes;
using testing::FaultPlan;
using testing::FaultyFile;
using testing::make_qcow2;
using testing::MemoryFile;
using testing::run_command;
using testing::run_now;

ImageHeader read_header(File& file) {
  auto header = run_now(ImageHeader::read(file));
  CHECK(header.has_value());
  return *std::move(header);
}

void put_bytes(Bytes& image, size_t offset, const void* data, size_t bytes) {
  std::memcpy(image.data() + offset, data, bytes);
}

std::vector<std::byte> some_bytes(size_t count) {
  std::vector<std::byte> data(count);
  for (size_t i = 0; i < count; ++i) data[i] = static_cast<std::byte>(i * 7 + 1);
  return data;
}

// As another program would write it: header_length 128, an unknown extension of odd length, no
// table of feature names.
Bytes foreign_image() {
  Bytes image = make_qcow2({.size_bytes = 1 << 20});
  std::fill_n(image.begin() + 104, 4096, uint8_t{0});
  const Be32 header_length = 128;
  put_bytes(image, 100, &header_length, 4);
  put_bytes(image, 112, "sixteen bytes...", 16);
  const Be32 extension[2] = {0x12345678, 11};
  put_bytes(image, 128, extension, sizeof extension);
  put_bytes(image, 136, "extension!!", 11);
  return image;
}

void expect_same(const Header& one, const Header& other) {
  EXPECT_EQ(one.size_bytes, other.size_bytes);
  EXPECT_EQ(one.backing_name, other.backing_name);
  EXPECT_EQ(one.backing_format, other.backing_format);
  EXPECT_EQ(one.extensions, other.extensions);
  EXPECT_EQ(one.unknown_fields, other.unknown_fields);
  EXPECT_EQ(one.compatible, other.compatible);
  EXPECT_EQ(one.autoclear, other.autoclear);
}

TEST(ImageHeader, UpdateKeepsUnknownFieldsAndExtensions) {
  MemoryFile file(foreign_image());
  ImageHeader header = read_header(file);
  ASSERT_EQ(header->unknown_fields.size(), 16U);
  ASSERT_TRUE(run_now(header.set_backing(file, "base.img", "raw")));
  const ImageHeader again = read_header(file);
  EXPECT_EQ(std::memcmp(again->unknown_fields.data(), "sixteen bytes...", 16), 0);
  const HeaderExtension* const extension = again->find_extension(0x12345678);
  ASSERT_NE(extension, nullptr);
  ASSERT_EQ(extension->data.size(), 11U);
  EXPECT_EQ(std::memcmp(extension->data.data(), "extension!!", 11), 0);
  EXPECT_EQ(again->backing_name, "base.img");
  EXPECT_EQ(again->backing_format, "raw");
  expect_same(*header, *again);
}

TEST(ImageHeader, FixedFieldsChangeInPlace) {
  const Bytes before = foreign_image();
  MemoryFile file(before);
  ImageHeader header = read_header(file);
  ASSERT_TRUE(run_now(header.set_features(file, 0, 1)));
  Bytes expected = before;
  expected[95] = 1;
  EXPECT_EQ(file.bytes(), expected);
  ASSERT_TRUE(run_now(header.set_mapping(file, 512, header->l1_offset, header->l1_entries)));
  EXPECT_EQ(read_header(file)->size_bytes, 512U);
}

TEST(ImageHeader, BackingComesAndGoes) {
  for (const uint32_t version : {2U, 3U})
    for (const uint32_t cluster_bits : {9U, 12U, 16U}) {
      SCOPED_TRACE(version * 100 + cluster_bits);
      MemoryFile file(
          make_qcow2({.size_bytes = 1 << 20, .version = version, .cluster_bits = cluster_bits}));
      ImageHeader header = read_header(file);
      const std::string name(300, 'b');
      ASSERT_TRUE(run_now(header.set_backing(file, name, "qcow2")));
      expect_same(*header, *read_header(file));
      EXPECT_EQ(read_header(file)->backing_name, name);
      ASSERT_TRUE(run_now(header.set_backing(file, "", std::nullopt)));
      EXPECT_EQ(read_header(file)->backing_name, "");
      EXPECT_EQ(read_header(file)->backing_format, std::nullopt);
    }
}

TEST(ImageHeader, WhatDoesNotFitIsRefusedAndChangesNothing) {
  MemoryFile file(make_qcow2({.size_bytes = 1 << 20, .cluster_bits = 9}));
  const Bytes before = file.bytes();
  ImageHeader header = read_header(file);
  const auto failed = run_now(header.set_backing(file, std::string(500, 'b'), "raw"));
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().kind(), ErrorKind::kOutOfRange);
  EXPECT_EQ(header->backing_name, "");
  EXPECT_EQ(file.bytes(), before);
}

TEST(ImageHeader, ExtensionIsReplacedInItsPlaceAndRemoved) {
  MemoryFile file(foreign_image());
  ImageHeader header = read_header(file);
  Header changed = *header;
  set_extension(changed, kExtensionBitmaps, some_bytes(24));
  set_extension(changed, 0x12345678, some_bytes(3));
  ASSERT_TRUE(run_now(header.update(file, changed)));
  EXPECT_EQ(read_header(file)->find_extension(kExtensionBitmaps)->data, some_bytes(24));
  EXPECT_EQ(read_header(file)->find_extension(0x12345678)->data, some_bytes(3));
  set_extension(changed, kExtensionBitmaps, {});
  ASSERT_TRUE(run_now(header.update(file, changed)));
  EXPECT_EQ(read_header(file)->find_extension(kExtensionBitmaps), nullptr);
}

TEST(ImageHeader, FailedWriteChangesNothing) {
  FaultPlan plan;
  FaultyFile file(std::make_unique<MemoryFile>(foreign_image()), plan);
  ImageHeader header = read_header(file);
  plan.fail_at = 1;
  EXPECT_FALSE(run_now(header.set_backing(file, "base", "raw")));
  EXPECT_EQ(header->backing_name, "");
  EXPECT_EQ(read_header(file)->backing_name, "");
}

// The old name or the new one, whichever of its sectors a torn write leaves.
TEST(ImageHeader, AnyMomentOfAnUpdateLeavesAHeader) {
  std::mt19937 random(1);
  for (const size_t length : {20U, 300U, 600U})
    for (unsigned round = 0; round < 20; ++round) {
      SCOPED_TRACE(length);
      const Bytes before = make_qcow2(
          {.size_bytes = 1 << 20, .backing_name = std::string(100, 'a'), .backing_format = "raw"});
      FaultPlan plan;
      FaultyFile file(std::make_unique<MemoryFile>(before), plan);
      ImageHeader header = read_header(file);
      // The first one brings what qemu-img makes, in more than a sector, into one.
      ASSERT_TRUE(run_now(header.set_backing(file, std::string(100, 'a'), "qcow2")));
      ASSERT_TRUE(run_now(header.set_backing(file, std::string(length, 'b'), "raw")));
      for (size_t crash = 0; crash <= plan.log.size(); ++crash) {
        MemoryFile survivor(plan.replay_torn(before, crash, random));
        const auto read = run_now(ImageHeader::read(survivor));
        ASSERT_TRUE(read) << read.error().message();
        const std::string& name = (*read)->backing_name;
        ASSERT_TRUE(name == std::string(100, 'a') || name == std::string(length, 'b')) << name;
      }
    }
}

using Change = std::function<Task<Result<void>>(ImageHeader&, File&)>;

// Each of them leaves its mark, which nothing else touches.
struct NamedChange {
  const char* name;
  Change start;
  std::function<bool(const Header&)> shows;
};

std::vector<NamedChange> all_changes() {
  return {
      {"features",
       [](ImageHeader& header, File& file) {
         return header.set_features(file, header->incompatible | kIncompatibleCorrupt,
                                    header->autoclear);
       },
       [](const Header& header) { return header.corrupt(); }},
      {"dirty",
       [](ImageHeader& header, File& file) {
         return header.set_features(file, header->incompatible | kIncompatibleDirty,
                                    header->autoclear);
       },
       [](const Header& header) { return header.dirty(); }},
      {"refcount table",
       [](ImageHeader& header, File& file) { return header.set_refcount_table(file, 7 << 16, 3); },
       [](const Header& header) {
         return header.refcount_table_offset == 7 << 16 && header.refcount_table_clusters == 3;
       }},
      {"mapping",
       [](ImageHeader& header, File& file) { return header.set_mapping(file, 4096, 9 << 16, 2); },
       [](const Header& header) {
         return header.size_bytes == 4096 && header.l1_offset == 9 << 16 && header.l1_entries == 2;
       }},
      {"snapshots",
       [](ImageHeader& header, File& file) { return header.set_snapshots(file, 8 << 16, 5); },
       [](const Header& header) {
         return header.snapshots_offset == 8 << 16 && header.snapshot_count == 5;
       }},
      {"backing",
       [](ImageHeader& header, File& file) {
         return header.set_backing(file, std::string(700, 'b'), "raw");
       },
       [](const Header& header) { return header.backing_name.size() == 700; }}};
}

Task<void> expect_done(Task<Result<void>> change, unsigned& done) {
  EXPECT_TRUE(co_await change);
  ++done;
}

TEST(ImageHeader, ChangesInFlightTogetherAllArrive) {
  const std::vector<NamedChange> changes = all_changes();
  for (const NamedChange& one : changes)
    for (const NamedChange& other : changes)
      for (const bool newest_first : {false, true}) {
        if (one.name == other.name) continue;
        SCOPED_TRACE(fmt::format("{}, {}{}", one.name, other.name, newest_first ? ", back" : ""));
        auto memory = std::make_unique<MemoryFile>(make_qcow2({.size_bytes = 1 << 20}));
        MemoryFile& disk = *memory;
        ImageHeader header = read_header(disk);
        testing::ShuffleQueue queue;
        testing::ShuffledFile file(std::move(memory), queue);
        unsigned done = 0;
        start_detached(expect_done(one.start(header, file), done));
        start_detached(expect_done(other.start(header, file), done));
        while (!queue.empty()) queue.resume(newest_first ? queue.size() - 1 : 0);
        EXPECT_EQ(done, 2U);
        EXPECT_TRUE(one.shows(*header) && other.shows(*header));
        const ImageHeader stored = read_header(disk);
        EXPECT_TRUE(one.shows(*stored) && other.shows(*stored));
      }
}

// Where a name and its successor do not fit into the first sector either, a crash between two
// writes may leave no mixture of both.
TEST(ImageHeader, AnyMomentBetweenTwoLongNamesLeavesOneOfThem) {
  std::mt19937 random(1);
  for (const uint32_t cluster_bits : {12U, 16U})
    for (const size_t first : {450U, 600U, 700U})
      for (const size_t second : {430U, 600U, 640U}) {
        SCOPED_TRACE(fmt::format("{} bits, {} and {}", cluster_bits, first, second));
        MemoryFile fresh(make_qcow2({.size_bytes = 1 << 20, .cluster_bits = cluster_bits}));
        const std::string names[] = {std::string(first, 'a'), std::string(second, 'b'),
                                     std::string(first + 10, 'c')};
        {
          ImageHeader header = read_header(fresh);
          ASSERT_TRUE(run_now(header.set_backing(fresh, names[0], "raw")));
        }
        Bytes before = fresh.bytes();
        for (size_t step = 1; step < std::size(names); ++step) {
          FaultPlan plan;
          FaultyFile file(std::make_unique<MemoryFile>(before), plan);
          ImageHeader header = read_header(file);
          ASSERT_TRUE(run_now(header.set_backing(file, names[step], "qcow2")));
          for (size_t crash = 0; crash <= plan.log.size(); ++crash)
            for (unsigned round = 0; round < 8; ++round) {
              MemoryFile survivor(plan.replay_torn(before, crash, random));
              const auto read = run_now(ImageHeader::read(survivor));
              ASSERT_TRUE(read) << read.error().message();
              const std::string& name = (*read)->backing_name;
              ASSERT_TRUE(name == names[step - 1] || name == names[step]) << name;
            }
          before = plan.replay(before, plan.log.size());
          MemoryFile after(before);
          EXPECT_EQ(read_header(after)->backing_name, names[step]);
        }
      }
}

// What cannot be done safely in small clusters is refused, and the old name stays.
TEST(ImageHeader, NoRoomForBothHeadersIsRefused) {
  MemoryFile file(make_qcow2({.size_bytes = 1 << 20, .cluster_bits = 10}));
  ImageHeader header = read_header(file);
  ASSERT_TRUE(run_now(header.set_backing(file, std::string(600, 'a'), "raw")));
  const Bytes before = file.bytes();
  const auto refused = run_now(header.set_backing(file, std::string(601, 'b'), "raw"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind(), ErrorKind::kOutOfRange);
  EXPECT_NE(refused.error().message().find("rebase -u"), std::string::npos);
  EXPECT_EQ(file.bytes(), before);
  // As the message says.
  ASSERT_TRUE(run_now(header.set_backing(file, "short", "raw")));
  ASSERT_TRUE(run_now(header.set_backing(file, std::string(601, 'b'), "raw")));
  EXPECT_EQ(read_header(file)->backing_name, std::string(601, 'b'));
}

// A new extension moves what lies behind it; the name is read at every moment.
TEST(ImageHeader, AnyMomentOfANewExtensionKeepsALongName) {
  std::mt19937 random(1);
  const std::string name(700, 'a');
  MemoryFile fresh(make_qcow2({.size_bytes = 1 << 20}));
  {
    ImageHeader header = read_header(fresh);
    ASSERT_TRUE(run_now(header.set_backing(fresh, name, "raw")));
  }
  const Bytes before = fresh.bytes();
  FaultPlan plan;
  FaultyFile file(std::make_unique<MemoryFile>(before), plan);
  ImageHeader header = read_header(file);
  for (const size_t bytes : {24U, 200U, 0U}) {
    Header changed = *header;
    set_extension(changed, kExtensionBitmaps, some_bytes(bytes));
    ASSERT_TRUE(run_now(header.update(file, changed)));
  }
  for (size_t crash = 0; crash <= plan.log.size(); ++crash)
    for (unsigned round = 0; round < 16; ++round) {
      MemoryFile survivor(plan.replay_torn(before, crash, random));
      const auto read = run_now(ImageHeader::read(survivor));
      ASSERT_TRUE(read) << read.error().message();
      ASSERT_EQ((*read)->backing_name, name);
    }
}

TEST(ImageHeader, QemuReadsWhatIsWritten) {
  if (!testing::have_qemu_img()) GTEST_SKIP();
  MemoryFile file(foreign_image());
  ImageHeader header = read_header(file);
  ASSERT_TRUE(run_now(header.set_backing(file, "base.img", "raw")));
  const testing::TemporaryDirectory directory;
  testing::save_file(directory / "image", file.bytes());
  const auto info = run_command("qemu-img info " + (directory / "image"));
  EXPECT_EQ(info.exit_code, 0) << info.output;
  EXPECT_NE(info.output.find("backing file format: raw"), std::string::npos) << info.output;
}

}  // namespace
}  // namespace hull::blockcore::qcow2
