#include "base/text.h"

#include <gtest/gtest.h>

namespace hull {
namespace {

TEST(Printable, Utf8Stays) { EXPECT_EQ(printable("Prüfung – 磁盘 🙂"), "Prüfung – 磁盘 🙂"); }

TEST(Printable, C1ControlsAreEscapedInBothForms) {
  EXPECT_EQ(printable("a\xc2\x9b"
                      "2J"),
            "a\\xc2\\x9b2J");
  EXPECT_EQ(printable("a\x9b"
                      "2J"),
            "a\\x9b2J");
  EXPECT_EQ(printable("\xc2\xa0"), "\xc2\xa0");
}

TEST(Printable, BrokenUtf8IsEscapedByteByByte) {
  EXPECT_EQ(printable("\xe2\x82"), "\\xe2\\x82");
  EXPECT_EQ(printable("\xc3"
                      "A"),
            "\\xc3A");
  EXPECT_EQ(printable("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(printable("\xc0\x9b"), "\\xc0\\x9b");
  EXPECT_EQ(printable("\xe0\x82\x9b"), "\\xe0\\x82\\x9b") << "a control character in three bytes";
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "a surrogate";
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(printable(""), "");
  EXPECT_EQ(printable(std::string_view("\0", 1)), "\\x00");
}

TEST(Printable, OneLineStaysOneLine) {
  EXPECT_EQ(printable("a\nb\r\tc"), "a\\x0ab\\x0d\\x09c");
  EXPECT_EQ(printable("\u2028\u2029"), "\\xe2\\x80\\xa8\\xe2\\x80\\xa9");
}

// "exe.gnp" that reads "png.exe".
TEST(Printable, WhatTurnsOrHidesTextIsEscaped) {
  EXPECT_EQ(printable("\u202egnp.exe"), "\\xe2\\x80\\xaegnp.exe");
  EXPECT_EQ(printable("\u2066"), "\\xe2\\x81\\xa6");
  EXPECT_EQ(printable("a\u200bb\ufeff"), "a\\xe2\\x80\\x8bb\\xef\\xbb\\xbf");
  EXPECT_EQ(printable("\U000e0041"), "\\xf3\\xa0\\x81\\x81");
}

TEST(Printable, ResultIsLeftAsItIs) {
  const std::string once = printable("a\x1b\xff\u202e🙂");
  EXPECT_EQ(printable(once), once);
}

TEST(Printable, LimitCutsBetweenCharacters) {
  EXPECT_EQ(printable("abc", 3), "abc");
  EXPECT_EQ(printable("abcd", 3), "abc…");
  EXPECT_EQ(printable("aüb", 2), "a…");
  EXPECT_EQ(printable("🙂🙂", 5), "🙂…");
  EXPECT_EQ(printable("\x80\x80\x80\x80\x80\x80\x80\x80", 6).substr(0, 4), "\\x80");
}

TEST(IsUtf8, KnowsIt) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("Prüfung 磁盘 🙂\n"));
  EXPECT_FALSE(is_utf8("a\xff"));
  EXPECT_FALSE(is_utf8("\xe2\x82"));
  EXPECT_FALSE(is_utf8("\xed\xa0\x80"));
}

}  // namespace
}  // namespace hull
