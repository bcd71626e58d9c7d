#include "config/verdicts.h"

#include <gtest/gtest.h>

#include <set>

#include "config/xml.h"

namespace hull::config {
namespace {

Verdict verdict_of(std::string_view path, std::string_view value = {}) {
  const XmlElement element;
  const VerdictRow* row = find_verdict(path, value, element);
  EXPECT_NE(row, nullptr) << path;
  return row == nullptr ? Verdict::kRefuse : row->verdict;
}

TEST(VerdictTable, RowsCanAllBeReached) {
  std::set<std::string_view> closed;  // patterns whose "any" row has been seen
  for (const auto group : verdict_groups())
    for (const VerdictRow& row : group) {
      EXPECT_FALSE(closed.contains(row.pattern) && !row.when.starts_with('~'))
          << row.pattern << " " << row.when << " stands behind a row that takes everything";
      if (row.when.empty()) closed.insert(row.pattern);
    }
}

TEST(VerdictTable, EveryPatternHasAnAnswerForAnyValue) {
  std::set<std::string_view> open;
  for (const auto group : verdict_groups())
    for (const VerdictRow& row : group) open.insert(row.pattern);
  for (const auto group : verdict_groups())
    for (const VerdictRow& row : group)
      if (row.when.empty()) open.erase(row.pattern);
  EXPECT_TRUE(open.empty()) << *open.begin();
}

TEST(VerdictTable, WarningsAndRefusalsHaveAReason) {
  for (const auto group : verdict_groups())
    for (const VerdictRow& row : group)
      if (row.verdict == Verdict::kWarn || row.verdict == Verdict::kRefuse) {
        EXPECT_FALSE(row.text.empty()) << row.pattern;
      }
}

TEST(VerdictTable, ParentsOfRowsAreKnown) {
  const XmlElement element;
  for (const auto group : verdict_groups())
    for (const VerdictRow& row : group) {
      const std::string_view parent = row.pattern.substr(0, row.pattern.rfind('/'));
      if (parent.empty() || parent.ends_with('*')) continue;
      EXPECT_NE(find_verdict(parent, {}, element), nullptr) << row.pattern;
    }
}

TEST(FindVerdict, ValueDecides) {
  EXPECT_EQ(verdict_of("/domain/devices/disk/driver/@type", "qcow2"), Verdict::kHonour);
  EXPECT_EQ(verdict_of("/domain/devices/disk/@device", "lun"), Verdict::kRefuse);
  EXPECT_EQ(verdict_of("/domain/devices/disk/driver/@error_policy", "stop"), Verdict::kWarn);
  EXPECT_EQ(verdict_of("/domain/devices/disk/driver/@error_policy", "ignore"), Verdict::kRefuse);
}

TEST(FindVerdict, AnyDeviceMayHaveAnAddress) {
  EXPECT_EQ(verdict_of("/domain/devices/rng/address"), Verdict::kSilent);
  const XmlElement element;
  EXPECT_EQ(find_verdict("/domain/os/address", {}, element), nullptr);
}

TEST(FindVerdict, UnknownNodeHasNoRow) {
  const XmlElement element;
  EXPECT_EQ(find_verdict("/domain/devices/dsik", {}, element), nullptr);
}

TEST(VerdictPath, ConsoleAndNestedBackingStoreShareRows) {
  const auto root = *parse_xml(
      "<domain><devices><console><source/></console>"
      "<disk><backingStore><backingStore><format/></backingStore></backingStore></disk>"
      "</devices></domain>",
      "d.xml");
  const XmlElement& devices = *root->child("devices");
  EXPECT_EQ(verdict_path(*devices.child("console")->child("source"), "path"),
            "/domain/devices/serial/source/@path");
  const XmlElement& inner =
      *devices.child("disk")->child("backingStore")->child("backingStore")->child("format");
  EXPECT_EQ(verdict_path(inner, {}), "/domain/devices/disk/backingStore/format");
}

TEST(RefusesUnknownChildren, WhereASlipCostsData) {
  EXPECT_TRUE(refuses_unknown_children("/domain/devices/disk"));
  EXPECT_TRUE(refuses_unknown_children("/domain/devices/disk/driver"));
  EXPECT_TRUE(refuses_unknown_children("/domain/devices/interface"));
  EXPECT_TRUE(refuses_unknown_children("/domain/seclabel"));
  EXPECT_FALSE(refuses_unknown_children("/domain/devices"));
  EXPECT_FALSE(refuses_unknown_children("/domain/devices/disks"));
}

}  // namespace
}  // namespace hull::config
