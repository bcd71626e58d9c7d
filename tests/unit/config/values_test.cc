#include "config/values.h"

#include <gtest/gtest.h>

#include "config/generated.h"

namespace hull::config {
namespace {

TEST(ParseSize, SuffixesGiveBytes) {
  EXPECT_EQ(*parse_size("4096"), 4096U);
  EXPECT_EQ(*parse_size("512M"), 512ULL << 20);
  EXPECT_EQ(*parse_size("2GiB"), 2ULL << 30);
  EXPECT_EQ(*parse_size("100MB"), 100'000'000U);
  EXPECT_EQ(*parse_size("3 kib"), 3072U);
  EXPECT_EQ(*parse_size("7bytes"), 7U);
}

TEST(ParseSize, BareNumberUsesDefaultUnit) { EXPECT_EQ(*parse_size("3", 1024), 3072U); }

TEST(ParseSize, OverflowIsRefused) {
  EXPECT_FALSE(parse_size("16E"));
  EXPECT_FALSE(parse_size("18446744073709551616"));
  EXPECT_FALSE(parse_size("18014398509481984", 1024));
  EXPECT_EQ(*parse_size("18446744073709551615"), UINT64_MAX);
}

TEST(ParseSize, OtherSpellingsAreRefused) {
  for (const char* text : {"", "M", "1.5G", "-1", "+1", " 1", "1  M", "1 ", "0x10", "1X", "1MiBs"})
    EXPECT_FALSE(parse_size(text)) << text;
}

TEST(ParseMac, BothSeparatorsAreAccepted) {
  const MacAddress expected{0x52, 0x54, 0x00, 0xab, 0xCD, 0x01};
  EXPECT_EQ(*parse_mac("52:54:00:ab:CD:01"), expected);
  EXPECT_EQ(*parse_mac("52-54-00-AB-cd-01"), expected);
  EXPECT_EQ(format_mac(expected), "52:54:00:ab:cd:01");
}

TEST(ParseMac, MulticastZeroAndGarbageAreRefused) {
  for (const char* text : {"53:54:00:ab:cd:01", "00:00:00:00:00:00", "52:54:00:ab:cd", "",
                           "52:54:00:ab:cd:0g", "52:54:00:ab:cd:011", "525400abcd01"})
    EXPECT_FALSE(parse_mac(text)) << text;
}

TEST(ParseCacheMode, UnknownWordNamesTheKnownOnes) {
  const auto mode = parse_cache_mode("writebak");
  ASSERT_FALSE(mode);
  EXPECT_NE(mode.error().message().find("writeback"), std::string::npos);
  EXPECT_EQ(*parse_cache_mode("directsync"), CacheMode::kDirectsync);
}

TEST(ParseUuid, SpellingsBecomeCanonical) {
  EXPECT_EQ(*parse_uuid("C7A5FDBD-EDAF-9455-926A-D65C16DB1809"),
            "c7a5fdbd-edaf-9455-926a-d65c16db1809");
  EXPECT_EQ(*parse_uuid("c7a5fdbdedaf9455926ad65c16db1809"),
            "c7a5fdbd-edaf-9455-926a-d65c16db1809");
  for (const char* text :
       {"", "c7a5fdbd", "c7a5fdbd-edaf-9455-926a-d65c16db180",
        "c7a5fdbd-edaf-9455-926a-d65c16db18099", "g7a5fdbd-edaf-9455-926a-d65c16db1809"})
    EXPECT_FALSE(parse_uuid(text)) << text;
}

TEST(GenerateUuid, IsVersionFourAndCanonical) {
  const std::string uuid = *generate_uuid();
  EXPECT_EQ(*parse_uuid(uuid), uuid);
  EXPECT_EQ(uuid[14], '4');
  EXPECT_NE(*generate_uuid(), uuid);
}

TEST(FillGenerated, MacAddressesAreStableUniqueAndLocal) {
  DomainConfig config;
  config.name = "web1";
  config.networks.resize(3);
  config.networks[1].mac = derive_mac("web1", 0);  // what the first one would get
  DomainConfig again = config;

  ASSERT_TRUE(fill_generated(config));
  ASSERT_TRUE(fill_generated(again));

  EXPECT_NE(config.networks[0].mac, config.networks[1].mac);
  EXPECT_NE(config.networks[0].mac, config.networks[2].mac);
  EXPECT_EQ(config.networks[0].mac, again.networks[0].mac);
  EXPECT_EQ(format_mac(config.networks[0].mac).substr(0, 8), "52:54:00");
  EXPECT_NE(config.uuid, again.uuid);
}

}  // namespace
}  // namespace hull::config
