#include "config/xml.h"

#include <gtest/gtest.h>

namespace hull::config {
namespace {

std::string repeated(std::string_view text, size_t count) {
  std::string result;
  for (size_t i = 0; i < count; ++i) result += text;
  return result;
}

// The message of the error, or "" if the document was accepted.
std::string refusal(std::string_view document) {
  const auto parsed = parse_xml(document, "d.xml");
  return parsed ? "" : parsed.error().message();
}

TEST(ParseXml, TreeHasNamesTextAttributesAndPlaces) {
  const auto root =
      *parse_xml("<a x='1'>\n  <b>t&amp;<!-- c -->u</b>\n <b y='&#65;'/></a>", "d.xml");
  EXPECT_EQ(root->name.local, "a");
  EXPECT_EQ(root->value("x"), "1");
  EXPECT_EQ(root->value("z", "none"), "none");
  ASSERT_EQ(root->children.size(), 2U);
  EXPECT_EQ(root->child("b")->text, "t&u");
  EXPECT_EQ(root->children[1]->value("y"), "A");
  EXPECT_EQ(root->children[1]->line, 3U);
  EXPECT_EQ(root->children[1]->column, 2U);
  EXPECT_EQ(root->trimmed_text(), "");
}

TEST(XmlElement, PathHasIndexOnlyAmongSiblingsOfOneName) {
  const auto root = *parse_xml("<a><b/><c><d/></c><b/></a>", "d.xml");
  EXPECT_EQ(root->children[0]->xpath(), "/a/b[1]");
  EXPECT_EQ(root->children[2]->xpath(), "/a/b[2]");
  EXPECT_EQ(root->children[1]->children[0]->xpath(), "/a/c/d");
}

TEST(ParseXml, NamespacesAreMatchedByUriNotPrefix) {
  const auto root = *parse_xml(
      "<a xmlns:z='http://libvirt.org/schemas/domain/qemu/1.0' xmlns:o='urn:o'>"
      "<z:commandline z:p='v'/><o:x/><x/></a>",
      "d.xml");
  EXPECT_EQ(root->children[0]->xpath(), "/a/qemu:commandline");
  EXPECT_EQ(root->children[0]->name.namespace_uri, kQemuNamespace);
  EXPECT_EQ(root->children[0]->attribute("p"), nullptr);
  EXPECT_EQ(root->children[0]->attributes[0].name.display(), "qemu:p");
  EXPECT_EQ(root->children[1]->name.display(), "o:x");
  EXPECT_EQ(root->child("x"), root->children[2].get());
}

TEST(ParseXml, CommentAndDeclarationBeforeTheRootAreAccepted) {
  EXPECT_EQ(refusal("<?xml version='1.0' encoding='UTF-8'?><!-- w -->\n\n<a/>"), "");
  EXPECT_EQ(refusal("\xef\xbb\xbf<a/>"), "");
}

TEST(ParseXml, ErrorNamesFileLineAndColumn) {
  EXPECT_EQ(refusal("<a>\n <b></a>"), "d.xml:2:7: mismatched tag");
}

TEST(ParseXml, BillionLaughsIsRefusedAtTheDoctype) {
  const std::string document =
      "<!DOCTYPE a [<!ENTITY x 'lol'><!ENTITY y '&x;&x;&x;&x;&x;&x;&x;&x;'>]><a>&y;</a>";
  EXPECT_NE(refusal(document).find("DOCTYPE"), std::string::npos);
  EXPECT_NE(refusal("<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>").find("DOCTYPE"),
            std::string::npos);
}

TEST(ParseXml, UndefinedEntityIsRefused) { EXPECT_NE(refusal("<a>&x;</a>"), ""); }

TEST(ParseXml, MalformedDocumentsAreRefused) {
  for (const std::string_view document :
       {std::string_view(""), std::string_view("   "), std::string_view("<a>"),
        std::string_view("<a b='1' b='2'/>"), std::string_view("<a b=1/>"),
        std::string_view("<a/>text"), std::string_view("<a></b>"), std::string_view("<a>&#0;</a>"),
        std::string_view("<a>\0</a>", 8), std::string_view("<a>\xff</a>"),
        std::string_view("<a>\xc0\x80</a>"), std::string_view("<a><![CDATA[</a>"),
        std::string_view("<q:a/>"), std::string_view("<a x='<'/>"),
        std::string_view("<a>\x01</a>")})
    EXPECT_NE(refusal(document), "") << document;
}

TEST(ParseXml, TwoRootsAreRefused) {
  EXPECT_EQ(refusal("<a/><b/>"), "d.xml:1:5: something follows the root element");
}

TEST(ParseXml, DuplicateAttributeThroughNamespacesIsRefused) {
  EXPECT_NE(refusal("<a xmlns:p='urn:x' xmlns:q='urn:x' p:b='1' q:b='2'/>"), "");
}

TEST(ParseXml, OtherEncodingsAreRefused) {
  EXPECT_NE(refusal("<?xml version='1.0' encoding='ISO-8859-1'?><a/>").find("only UTF-8"),
            std::string::npos);
  EXPECT_NE(refusal(std::string_view("\xff\xfe<\0a\0/\0>\0", 10)), "");
}

TEST(ParseXml, DepthIsLimited) {
  EXPECT_EQ(refusal(repeated("<a>", kMaxXmlDepth) + repeated("</a>", kMaxXmlDepth)), "");
  EXPECT_NE(refusal(repeated("<a>", kMaxXmlDepth + 1) + repeated("</a>", kMaxXmlDepth + 1))
                .find("nested deeper"),
            std::string::npos);
}

TEST(ParseXml, ElementCountIsLimited) {
  EXPECT_EQ(refusal("<a>" + repeated("<b/>", kMaxXmlElements - 1) + "</a>"), "");
  EXPECT_NE(refusal("<a>" + repeated("<b/>", kMaxXmlElements) + "</a>").find("4096 elements"),
            std::string::npos);
}

TEST(ParseXml, AttributesAreLimited) {
  EXPECT_NE(refusal("<a b='" + std::string(kMaxXmlValueBytes + 1, 'x') + "'/>").find("longer"),
            std::string::npos);
  std::string many = "<a";
  for (size_t i = 0; i <= kMaxXmlAttributesPerElement; ++i) many += fmt::format(" a{}=''", i);
  EXPECT_NE(refusal(many + "/>").find("more than 64 attributes"), std::string::npos);
}

TEST(ParseXml, NamesAndTextAreLimited) {
  const std::string name(kMaxXmlNameBytes + 1, 'n');
  EXPECT_NE(refusal("<" + name + "/>").find("element name"), std::string::npos);
  EXPECT_NE(refusal("<a " + name + "=''/>").find("attribute name"), std::string::npos);
  EXPECT_NE(refusal("<a>" + std::string(kMaxXmlTextBytes + 1, 't') + "</a>").find("text of <a>"),
            std::string::npos);
  EXPECT_NE(refusal("<a xmlns='" + std::string(kMaxXmlNamespaceBytes + 1, 'u') + "'/>")
                .find("namespace is longer"),
            std::string::npos);
}

TEST(ParseXml, DocumentSizeIsLimited) {
  EXPECT_EQ(refusal("<a/>" + std::string(kMaxXmlBytes - 4, ' ')), "");
  EXPECT_EQ(refusal("<a/>" + std::string(kMaxXmlBytes - 3, ' ')),
            "d.xml: larger than 1048576 bytes");
}

}  // namespace
}  // namespace hull::config
