#include "blockcore/qcow2/format/header.h"

#include <gtest/gtest.h>

#include "blockcore/qcow2/format/image_header.h"
#include "tests/support/qcow2_images.h"

namespace hull::blockcore::qcow2 {
namespace {

using testing::Bytes;

Bytes valid_image(uint32_t version = 3) {
  return testing::make_qcow2({.size_bytes = 1 << 30,
                              .version = version,
                              .backing_name = "base.raw",
                              .backing_format = "raw"});
}

Result<Header> decode(const Bytes& image) { return decode_header(std::as_bytes(std::span(image))); }

void put(Bytes& image, size_t offset, uint64_t value, size_t width) {
  for (size_t i = 0; i < width; ++i)
    image[offset + i] = static_cast<uint8_t>(value >> (8 * (width - 1 - i)));
}

// One field changed, and the word that the complaint must hold.
struct BadField {
  const char* name;
  uint32_t version;
  size_t offset;
  size_t width;
  uint64_t value;
  ErrorKind kind;
};
void PrintTo(const BadField& field, std::ostream* out) {
  *out << field.name << "=" << std::hex << field.value;
}

class Qcow2BadField : public ::testing::TestWithParam<BadField> {};

TEST_P(Qcow2BadField, IsRefusedByName) {
  const BadField& field = GetParam();
  Bytes image = valid_image(field.version);
  put(image, field.offset, field.value, field.width);
  const auto header = decode(image);
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().kind(), field.kind) << header.error().message();
  EXPECT_NE(header.error().message().find(field.name), std::string::npos)
      << header.error().message();
  EXPECT_EQ(header.error().message().find('\n'), std::string::npos);
}

constexpr auto kFormat = ErrorKind::kInvalidFormat;
INSTANTIATE_TEST_SUITE_P(
    Fields, Qcow2BadField,
    ::testing::Values(
        BadField{"QFI", 3, 0, 4, 0x514649fa, kFormat},
        BadField{"version", 3, 4, 4, 1, ErrorKind::kUnsupported},
        BadField{"version", 3, 4, 4, 0, kFormat}, BadField{"version", 3, 4, 4, 4, kFormat},
        BadField{"backing_file_offset", 3, 8, 8, 1, kFormat},
        BadField{"backing_file_offset", 3, 8, 8, 65537, kFormat},
        BadField{"backing_file_offset", 3, 8, 8, ~uint64_t{0}, kFormat},
        BadField{"backing_file_size", 3, 16, 4, 1024, kFormat},
        BadField{"backing_file_size", 3, 16, 4, 0xffffffff, kFormat},
        BadField{"cluster_bits", 3, 20, 4, 8, kFormat},
        BadField{"cluster_bits", 3, 20, 4, 22, kFormat},
        BadField{"cluster_bits", 2, 20, 4, 0xffffffff, kFormat},
        BadField{"size", 3, 24, 8, ~uint64_t{0}, kFormat},
        BadField{"crypt_method", 3, 32, 4, 3, kFormat}, BadField{"l1_size", 3, 36, 4, 1, kFormat},
        BadField{"l1_size", 3, 36, 4, (4 << 20) + 1, kFormat},
        BadField{"l1_size", 2, 36, 4, 0xffffffff, kFormat},
        BadField{"l1_table_offset", 3, 40, 8, 3 * 65536 + 512, kFormat},
        BadField{"l1_table_offset", 3, 40, 8, 0, kFormat},
        BadField{"l1_table_offset", 3, 40, 8, 0xffffffffffff0000, kFormat},
        BadField{"incompatible_features", 3, 72, 8, 1 << 5, ErrorKind::kUnsupported},
        BadField{"incompatible_features", 3, 72, 8, uint64_t{1} << 63, ErrorKind::kUnsupported},
        BadField{"compression_type", 3, 72, 8, kIncompatibleCompression, kFormat},
        BadField{"compression_type", 3, 104, 1, 1, kFormat},
        BadField{"refcount_order", 3, 96, 4, 7, kFormat},
        BadField{"header_length", 3, 100, 4, 96, kFormat},
        BadField{"header_length", 3, 100, 4, 109, kFormat},
        BadField{"header_length", 3, 100, 4, 65544, kFormat},
        BadField{"extension", 3, 116, 4, 0xffffffff, kFormat}));

// Readers of the disk have no use for them.
TEST(Qcow2Header, RefcountTableIsCheckedForWriters) {
  for (const BadField& field :
       {BadField{"refcount_table_offset", 3, 48, 8, 65537, kFormat},
        BadField{"refcount_table_offset", 3, 48, 8, 0, kFormat},
        BadField{"refcount_table_offset", 2, 48, 8, 0xffffffffffff0000, kFormat},
        BadField{"refcount table", 3, 48, 8, uint64_t{1} << 50, ErrorKind::kCorrupt},
        BadField{"refcount_table_clusters", 3, 56, 4, 0, kFormat},
        BadField{"refcount_table_clusters", 3, 56, 4, 129, kFormat},
        BadField{"refcount_table_clusters", 3, 56, 4, 0xffffffff, kFormat}}) {
    Bytes image = valid_image(field.version);
    put(image, field.offset, field.value, field.width);
    const auto header = decode(image);
    ASSERT_TRUE(header) << header.error().message();
    const auto writable = check_writable(*header, uint64_t{1} << 40);
    ASSERT_FALSE(writable);
    EXPECT_EQ(writable.error().kind(), field.kind);
    EXPECT_NE(writable.error().message().find(field.name), std::string::npos);
  }
}

TEST(Qcow2Header, FieldsSurviveEncoding) {
  const auto header = decode(valid_image());
  ASSERT_TRUE(header) << header.error().message();
  EXPECT_EQ(header->version, 3U);
  EXPECT_EQ(header->size_bytes, uint64_t{1} << 30);
  EXPECT_EQ(header->l1_entries, 2U);
  EXPECT_EQ(header->backing_name, "base.raw");
  EXPECT_EQ(header->backing_format, "raw");
}

TEST(Qcow2Header, Version2HasNoFieldsOfVersion3) {
  const auto header = decode(valid_image(2));
  ASSERT_TRUE(header) << header.error().message();
  EXPECT_EQ(header->geometry.refcount_order, 4U);
  EXPECT_FALSE(header->has_zero_flag());
}

TEST(Qcow2Header, UnknownFeatureIsCalledByItsName) {
  Bytes image = valid_image();
  put(image, 72, 1 << 6, 8);
  const std::string table(reinterpret_cast<const char*>(image.data()), 4096);
  const size_t name = table.find("corrupt bit");
  ASSERT_NE(name, std::string::npos);
  image[name - 1] = 6;  // the table's entry for bit 1 now speaks of bit 6
  const auto header = decode(image);
  ASSERT_FALSE(header);
  EXPECT_NE(header.error().message().find("'corrupt bit' (bit 6)"), std::string::npos)
      << header.error().message();
}

TEST(Qcow2Header, CutOffAnywhereIsAnError) {
  const Bytes image = valid_image();
  for (size_t length = 0; length < 520; ++length)
    EXPECT_FALSE(decode(Bytes(image.begin(), image.begin() + static_cast<ptrdiff_t>(length))))
        << length;
}

TEST(Qcow2Header, UnknownExtensionsAreKept) {
  Bytes image = valid_image();
  const auto header = decode(image);
  ASSERT_TRUE(header);
  Header changed = *header;
  changed.extensions.push_back({0x12345678, {std::byte{1}, std::byte{2}, std::byte{3}}});
  const auto bytes = encode_header(changed);
  ASSERT_TRUE(bytes);
  std::copy(bytes->begin(), bytes->end(), reinterpret_cast<std::byte*>(image.data()));
  const auto again = decode(image);
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->extensions.back().type, 0x12345678U);
  EXPECT_EQ(again->extensions.back().data.size(), 3U);
  EXPECT_EQ(again->backing_name, "base.raw");
}

TEST(Qcow2Header, TablesPastTheEndOfTheFileAreRefused) {
  Bytes image = testing::make_qcow2({.size_bytes = 1 << 20});
  put(image, 40, uint64_t{1} << 40, 8);
  auto disk = testing::open_qcow2(image);
  ASSERT_FALSE(disk);
  EXPECT_NE(disk.error().message().find("L1 table"), std::string::npos);
  image = testing::make_qcow2({.size_bytes = 1 << 20});
  put(image, 48, uint64_t{1} << 40, 8);
  disk = testing::open_qcow2(image);
  ASSERT_FALSE(disk);
  EXPECT_NE(disk.error().message().find("refcount table"), std::string::npos);
}

struct Refused {
  const char* name;
  size_t offset;
  uint8_t value;
};
class Qcow2Refused : public ::testing::TestWithParam<Refused> {};

TEST_P(Qcow2Refused, FeatureThatHullLacksIsNamed) {
  Bytes image = testing::make_qcow2({.size_bytes = 1 << 20});
  image[GetParam().offset] = GetParam().value;
  const auto disk = testing::open_qcow2(image);
  ASSERT_FALSE(disk);
  EXPECT_NE(disk.error().message().find(GetParam().name), std::string::npos)
      << disk.error().message();
  EXPECT_EQ(disk.error().message().find("memory: "), 0U) << disk.error().message();
}
INSTANTIATE_TEST_SUITE_P(Features, Qcow2Refused,
                         ::testing::Values(Refused{"AES", 35, 1}, Refused{"LUKS", 35, 2},
                                           Refused{"external data file", 79, 4},
                                           Refused{"marked corrupt", 79, 2}));

}  // namespace
}  // namespace hull::blockcore::qcow2
