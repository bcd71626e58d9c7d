#include "blockcore/format_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "blockcore/image/probe.h"

namespace hull::blockcore {
namespace {

using namespace std::string_literals;

std::string start_of(const FormatMagic& magic) {
  return std::string(magic.offset, '\0') + std::string(magic.bytes);
}

TEST(FormatTable, EachFormatHasOneName) {
  std::set<std::string_view> names;
  for (const FormatDriver* const driver : format_table()) {
    EXPECT_TRUE(names.insert(driver->name).second) << driver->name;
    EXPECT_EQ(find_format(driver->name), driver);
  }
  EXPECT_EQ(find_format("QCOW2"), nullptr);
  EXPECT_EQ(find_format(""), nullptr);
}

// What a document may say is what the block core opens, by the same names.
TEST(FormatTable, DocumentsNameTheFormatsThatAreOpened) {
  size_t opened = 0;
  for (const FormatDriver* const driver : format_table()) opened += driver->format ? 1 : 0;
  EXPECT_EQ(opened, std::size(kDiskFormatWords));
  for (const auto& [word, format] : kDiskFormatWords) {
    EXPECT_EQ(driver_of(format).name, word);
    EXPECT_EQ(parse_format(word).value(), format);
  }
}

// Whoever asks before it opens must not be told what the others would refuse.
TEST(FormatTable, AbilitiesAreThoseOfWhatIsOpened) {
  EXPECT_FALSE(find_format("raw")->has.metadata);
  for (const FormatDriver* const driver : format_table()) {
    const FormatAbilities& has = driver->has;
    const bool any = has.backing || has.snapshots || has.bitmaps || has.compression || has.checks ||
                     has.amendment;
    EXPECT_TRUE(!any || (has.metadata && driver->format)) << driver->name;
  }
}

TEST(FormatTable, EachMagicIsThatOfItsFormatAlone) {
  for (const FormatDriver* const driver : format_table()) {
    for (const FormatMagic& magic : driver->magics) {
      EXPECT_EQ(recognise_format(start_of(magic), {}), driver) << driver->name;
      EXPECT_LE(magic.offset + magic.bytes.size(), kProbeStartBytes) << driver->name;
      std::string cut = start_of(magic);
      cut.pop_back();
      EXPECT_EQ(recognise_format(cut, {}), nullptr) << driver->name;
    }
    if (driver->trailer_magic.empty()) continue;
    EXPECT_EQ(recognise_format({}, driver->trailer_magic), driver) << driver->name;
    EXPECT_LE(driver->trailer_magic.size(), kProbeTrailerMagicBytes) << driver->name;
  }
  EXPECT_EQ(recognise_format({}, {}), nullptr);
}

TEST(FormatTable, NamesThatAreNotOpenedSayWhy) {
  const auto unknown = parse_format("qcow3");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().kind(), ErrorKind::kUsage);
  EXPECT_EQ(unknown.error().message(), "Unknown file format 'qcow3'");
  for (const FormatDriver* const driver : format_table()) {
    if (driver->format) continue;
    const auto known = parse_format(driver->name);
    ASSERT_FALSE(known) << driver->name;
    EXPECT_EQ(known.error().kind(), ErrorKind::kUnsupported);
    EXPECT_NE(known.error().message().find("is not supported yet (hull has raw and qcow2)"),
              std::string::npos)
        << known.error().message();
  }
}

// A new format is a driver and a row: everything that asks the table knows it.
TEST(FormatTable, ANewRowIsEnough) {
  static constexpr FormatMagic kMagics[] = {{8, "FAKEDISK"}};
  static constexpr FormatDriver kFake{
      .name = "fake",
      .format = DiskFormat::kRaw,
      .magics = kMagics,
      .names_other_files = [](std::string_view start) { return start.ends_with("!"); }};
  static constexpr FormatDriver kLater{.name = "later", .trailer_magic = "LATE"};
  std::vector<const FormatDriver*> rows(format_table().begin(), format_table().end());
  rows.push_back(&kFake);
  rows.push_back(&kLater);
  const std::string start = "\0\0\0\0\0\0\0\0FAKEDISK!"s;
  EXPECT_EQ(recognise_format(start, {}), nullptr);
  const FormatDriver* const found = recognise_format(start, {}, rows);
  ASSERT_EQ(found, &kFake);
  EXPECT_TRUE(found->names_other_files(start));
  EXPECT_EQ(recognise_format({}, "LATE", rows), &kLater);
  EXPECT_EQ(find_format("fake", rows), &kFake);
  EXPECT_TRUE(parse_format("fake", rows));
  EXPECT_EQ(openable_formats(" or ", rows), "raw or qcow2 or fake");
  EXPECT_EQ(parse_format("later", rows).error().kind(), ErrorKind::kUnsupported);
}

}  // namespace
}  // namespace hull::blockcore
