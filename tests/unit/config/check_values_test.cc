// Values that libvirt's parser refuses are refused, whatever hull does with the thing itself.
#include <gtest/gtest.h>

#include <set>

#include "config/value_rows.h"
#include "tests/support/domain_document.h"

namespace hull::config {
namespace {

using hull::testing::domain_document;
using hull::testing::lines;
using hull::testing::read_document;

std::string refused(std::string_view devices, std::string_view general = "") {
  return lines(read_document(domain_document(devices, general)).refusals);
}

TEST(Values, OtherSpellingsOfDangerousWordsDoNotPass) {
  for (const char* tls : {"Yes", "true", "on", "1"})
    EXPECT_NE(refused(fmt::format("<disk type='network'><source protocol='nbd' tls='{}'>"
                                  "<host name='h'/></source><target dev='vda'/></disk>",
                                  tls))
                  .find("source/@tls='"),
              std::string::npos)
        << tls;
  for (const char* general :
       {"<seclabel type='Static'/>", "<cpu match='Strict'/>", "<clock offset='UTC'/>"})
    EXPECT_NE(refused("", general).find("is not one of"), std::string::npos) << general;
  EXPECT_NE(refused("<disk rawio='on'><source file='/d'/><target dev='vda'/></disk>")
                .find("/@rawio='on': refused: is neither yes nor no"),
            std::string::npos);
  EXPECT_NE(refused("<serial type='unix'><source mode='conect' path='/s'/></serial>")
                .find("/@mode='conect': is not one of bind, connect"),
            std::string::npos);
}

TEST(Values, BelowWhatIsLeftOutTheRefusalMayBeIgnored) {
  const std::string document = domain_document("<video><model type='vgaa'/></video>");
  EXPECT_NE(lines(read_document(document).refusals).find("(skip with --ignore=video/model/@type)"),
            std::string::npos);
  EXPECT_TRUE(read_document(document, {.ignore = {"video"}}).accepted());
}

TEST(Values, AKindIsCheckedAsItIsMeant) {
  const auto accepts = [](std::string_view devices, std::string_view general = "") {
    return refused(devices, general).empty();
  };
  EXPECT_TRUE(
      accepts("<controller type='usb'><address type='pci' slot='0x01' function='7'/>"
              "</controller>"));
  EXPECT_FALSE(accepts("<controller type='usb'><address type='pci' slot='one'/></controller>"));
  EXPECT_TRUE(accepts("", "<cputune><vcpupin vcpu='0' cpuset='0-3,^2'/></cputune>"));
  EXPECT_FALSE(accepts("", "<cputune><vcpupin vcpu='0' cpuset='3-0'/></cputune>"));
  EXPECT_TRUE(accepts("", "<cputune><quota>-1</quota></cputune>"));
  EXPECT_FALSE(accepts("", "<cputune><period>-1</period></cputune>"));
  EXPECT_TRUE(accepts("", "<memtune><hard_limit unit='G'>1</hard_limit></memtune>"));
  EXPECT_FALSE(accepts("", "<memtune><hard_limit unit='furlong'>1</hard_limit></memtune>"));
  EXPECT_TRUE(accepts("<interface type='null'><ip address='::1' prefix='64'/></interface>"));
  EXPECT_FALSE(accepts("<interface type='null'><ip address='1.2.3'/></interface>"));
  EXPECT_FALSE(accepts("<disk><source file='/d'/><target dev='vda'/><wwn>12</wwn></disk>"));
}

TEST(Values, RowsAreWellFormed) {
  std::set<std::string> seen;
  for (const auto group : value_groups())
    for (const ValueRow& row : group) {
      EXPECT_TRUE(row.base == "*" || row.base.starts_with("/domain")) << row.base;
      const bool with_words = row.kind == ValueKind::kWords ||
                              row.kind == ValueKind::kAtMostCharacters ||
                              row.kind == ValueKind::kExactlyCharacters;
      EXPECT_EQ(with_words, !row.words.empty()) << row.base << " " << row.nodes;
      for (std::string_view nodes = row.nodes; !nodes.empty();) {
        const std::string_view node = nodes.substr(0, nodes.find(' '));
        EXPECT_FALSE(node.empty()) << row.base;
        EXPECT_TRUE(seen.insert(fmt::format("{}/{}", row.base, node)).second)
            << row.base << " " << node << " is there twice";
        nodes.remove_prefix(std::min(node.size() + 1, nodes.size()));
      }
    }
}

}  // namespace
}  // namespace hull::config
