// XML documents as a small tree. expat does the tokenizing; what is accepted is narrower than XML:
// UTF-8 only, no DOCTYPE (hence no entities besides the five), no NUL, and everything is bounded
// before it is stored, because a document may come from a stranger.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace hull::config {

inline constexpr size_t kMaxXmlBytes = 1024 * 1024;
inline constexpr size_t kMaxXmlDepth = 64;
inline constexpr size_t kMaxXmlElements = 4096;
inline constexpr size_t kMaxXmlAttributes = 16384;  // in the whole document
inline constexpr size_t kMaxXmlAttributesPerElement = 64;
inline constexpr size_t kMaxXmlNameBytes = 128;
inline constexpr size_t kMaxXmlNamespaceBytes = 256;
inline constexpr size_t kMaxXmlValueBytes = 16384;  // of one attribute
inline constexpr size_t kMaxXmlTextBytes = 262144;  // of one element

// Raw QEMU arguments in a domain document live here; matched by this URI, whatever the prefix.
inline constexpr std::string_view kQemuNamespace = "http://libvirt.org/schemas/domain/qemu/1.0";

struct XmlName {
  std::string local;
  std::string namespace_uri;  // empty: none
  std::string prefix;         // as the document has it

  bool plain(std::string_view name) const { return namespace_uri.empty() && local == name; }
  // As a user writes it: "disk", "qemu:commandline" (whatever prefix the document uses for it),
  // "o:tpm", and "{urn:o}tpm" where the namespace has no prefix.
  std::string display() const;
  // As tables have it: "disk", "qemu:commandline", "{urn:o}tpm". Equal only for equal names.
  std::string expanded() const;
};

struct XmlAttribute {
  XmlName name;
  std::string value;
};

// Immutable once parse_xml() has returned it. Children point at their parent, so elements never
// move.
struct XmlElement {
  XmlName name;
  std::string text;  // all character data directly inside, concatenated
  std::vector<XmlAttribute> attributes;
  std::vector<std::unique_ptr<XmlElement>> children;
  const XmlElement* parent = nullptr;
  unsigned line = 0;    // 1-based
  unsigned column = 0;  // 1-based, in bytes

  // The plain (namespace-less) attribute or first plain child of that name; null if there is none.
  const std::string* attribute(std::string_view attribute_name) const;
  const XmlElement* child(std::string_view child_name) const;
  // All plain children of that name: the way to loop over children, so that none of another name
  // is taken for one of them.
  std::vector<const XmlElement*> children_named(std::string_view child_name) const;
  // The attribute, or `fallback`.
  std::string_view value(std::string_view attribute_name, std::string_view fallback = {}) const;
  // `text` without white space at its ends.
  std::string_view trimmed_text() const;
  // 1-based, among the siblings of the same name.
  size_t position() const;
  // "/domain/devices/disk[2]/driver"; an index (1-based) only where siblings share the name.
  std::string xpath() const;
};

// Parses a whole document. Errors: kInvalidConfig "SOURCE:LINE:COLUMN: what".
Result<std::unique_ptr<XmlElement>> parse_xml(std::string_view document,
                                              std::string_view source_name);

std::string_view trim(std::string_view text);

}  // namespace hull::config
