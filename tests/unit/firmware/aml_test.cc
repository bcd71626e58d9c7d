#include "firmware/aml.h"

#include <string>

namespace hull::firmware {
namespace {

using Bytes = std::vector<uint8_t>;

TEST(Aml, IntegersUseTheShortestForm) {
  AmlWriter aml;
  for (const uint64_t value : {0ull, 1ull, 0xffull, 0x100ull, 0x10000ull, 0x100000000ull})
    aml.name_integer("N", value);
  EXPECT_EQ(aml.bytes(), (Bytes{8, 'N', '_', '_', '_', 0x00,                          //
                                8, 'N', '_', '_', '_', 0x01,                          //
                                8, 'N', '_', '_', '_', 0x0a, 0xff,                    //
                                8, 'N', '_', '_', '_', 0x0b, 0x00, 0x01,              //
                                8, 'N', '_', '_', '_', 0x0c, 0x00, 0x00, 0x01, 0x00,  //
                                8, 'N', '_', '_', '_', 0x0e, 0,    0,    0,    0,    1, 0, 0, 0}));
}

TEST(Aml, EisaIdIsCompressed) {
  AmlWriter aml;
  aml.name_eisa_id("_HID", "PNP0501");
  EXPECT_EQ(aml.bytes(), (Bytes{8, '_', 'H', 'I', 'D', 0x0c, 0x41, 0xd0, 0x05, 0x01}));
}

TEST(Aml, BlocksNestWithTheirLengths) {
  AmlWriter aml;
  {
    const auto scope = aml.scope("_SB");
    const auto device = aml.device("DEV");
    aml.name_string("_HID", "AB");
  }
  EXPECT_EQ(aml.bytes(), (Bytes{0x10, 21,   '_', 'S', 'B', '_',        //
                                0x5b, 0x82, 14,  'D', 'E', 'V',  '_',  //
                                8,    '_',  'H', 'I', 'D', 0x0d, 'A', 'B', 0}));
}

// Body sizes on both sides of each step of the PkgLength encoding.
TEST(Aml, LongPackagesGetLongerLengths) {
  const auto head = [](size_t text) {
    AmlWriter aml;
    {
      const auto scope = aml.scope("A");
      aml.name_string("B", std::string(text, 'x'));  // the body has 4 + 5 + 1 + text + 1 bytes
    }
    return Bytes(aml.bytes().begin() + 1, aml.bytes().begin() + 4);
  };
  EXPECT_EQ(head(51)[0], 63);
  EXPECT_EQ(head(52), (Bytes{0x40 | 1, 4, 'A'}));        // 65
  EXPECT_EQ(head(4082), (Bytes{0x40 | 15, 0xff, 'A'}));  // 4095
  EXPECT_EQ(head(4083), (Bytes{0x80 | 1, 0x00, 0x01}));  // 4097
}

TEST(Aml, ResourceTemplateEndsWithItsTag) {
  AmlWriter aml;
  aml.name_resources("_CRS", AmlResources().io(0x3f8, 8).interrupt(4));
  EXPECT_EQ(aml.bytes(), (Bytes{8,    '_', 'C',  'R',  'S',  0x11, 16, 0x0a, 13,                //
                                0x47, 1,   0xf8, 0x03, 0xf8, 0x03, 1,  8,    0x22, 0x10, 0x00,  //
                                0x79, 0x00}));
}

TEST(Aml, NumberedNamesAreHexadecimal) {
  EXPECT_EQ(std::string_view(AmlNumberedName('V', 0)), "V000");
  EXPECT_EQ(std::string_view(AmlNumberedName('C', 0xabc)), "CABC");
}

}  // namespace
}  // namespace hull::firmware
