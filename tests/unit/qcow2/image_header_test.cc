#include "blockcore/qcow2/format/image_header.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/endian.h"
#include "tests/support/faulty_file.h"
#include "tests/support/qcow2_images.h"
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
