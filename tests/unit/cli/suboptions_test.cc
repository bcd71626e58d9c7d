#include "tools/hull/suboptions.h"

#include <gtest/gtest.h>

namespace hull::cli {
namespace {

TEST(Suboptions, FirstWordIsTheFirstKey) {
  const auto options = parse_suboptions("a.qcow2,format=qcow2", "file");
  ASSERT_TRUE(options.has_value());
  ASSERT_EQ(options->size(), 2u);
  EXPECT_EQ((*options)[0].key, "file");
  EXPECT_EQ((*options)[0].value, "a.qcow2");
  EXPECT_EQ((*options)[1].key, "format");
  EXPECT_EQ((*options)[1].value, "qcow2");
}

TEST(Suboptions, DoubleCommaIsAComma) {
  const auto options = parse_suboptions("a,,b.img,serial=x,,y", "file");
  ASSERT_TRUE(options.has_value());
  EXPECT_EQ((*options)[0].value, "a,b.img");
  EXPECT_EQ((*options)[1].value, "x,y");
}

TEST(Suboptions, EqualsInPathBelongsToThePath) {
  const auto options = parse_suboptions("/a/b=c.img", "file");
  ASSERT_TRUE(options.has_value());
  EXPECT_EQ((*options)[0].key, "file");
  EXPECT_EQ((*options)[0].value, "/a/b=c.img");
}

TEST(Suboptions, SecondWordWithoutEqualsIsRefused) {
  const auto options = parse_suboptions("a.img,readonly", "file");
  ASSERT_FALSE(options.has_value());
  EXPECT_EQ(options.error().kind(), ErrorKind::kUsage);
}

TEST(Suboptions, SwitchTakesOnAndOffOnly) {
  EXPECT_TRUE(*parse_switch({"readonly", "on"}));
  EXPECT_FALSE(*parse_switch({"readonly", "off"}));
  EXPECT_FALSE(parse_switch({"readonly", "maybe"}).has_value());
}

}  // namespace
}  // namespace hull::cli
