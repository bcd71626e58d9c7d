// What hull does with every element and attribute of libvirt's domain XML: one table, used to judge
// documents and to print what is supported. A row is found by the path of a node without indexes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace hull::config {

struct XmlElement;

enum class Verdict : uint8_t {
  kHonour,  // done as asked: a document without it makes another machine, or is refused
  kSilent,  // so anyway, or not done, and neither the guest's data nor its isolation depends on it
  kWarn,    // not done or done differently: one line
  kRefuse,  // not done, and something that matters would be lost: the domain does not start
};

// Row flags.
inline constexpr uint8_t kSubtree = 1;  // speaks for everything below the element as well
inline constexpr uint8_t kFinal = 2;    // a refusal that --ignore cannot turn into a warning
inline constexpr uint8_t kOnce = 4;     // one line per document, however many nodes match
inline constexpr uint8_t kUnique = 8;   // must not be given twice below one parent

struct VerdictRow {
  // "/domain/devices/disk/driver/@cache". <console> is looked up as <serial>, nested backingStore
  // as one, the <encryption> of a <source> as that of the disk, and '*' stands for any one device.
  std::string_view pattern;
  // "": any. "a|b": these values of the attribute or of the element's text. "@x=a|b": elements
  // whose attribute x is one of these (nothing between bars: absent). "~…": decided by the reader,
  // from more than this node. The first row that matches counts.
  std::string_view when;
  Verdict verdict;
  std::string_view text = {};  // reason and remedy; for kHonour and kSilent a note, or nothing
  uint8_t flags = 0;

  bool has(uint8_t flag) const { return (flags & flag) != 0; }
};

// All rows, in several groups only because source files have a length.
std::span<const std::span<const VerdictRow>> verdict_groups();

std::string_view to_string(Verdict verdict);

// The path by which rows are found. `attribute` may be empty.
std::string verdict_path(const XmlElement& element, std::string_view attribute);

// The row for a node; null: the table does not know it. `value` is the attribute's value or the
// element's text without white space around it.
const VerdictRow* find_verdict(std::string_view path, std::string_view value,
                               const XmlElement& element);

// The row whose `when` is `condition` ("~…").
const VerdictRow* find_computed_verdict(std::string_view path, std::string_view condition);

// The verdict at this path depends on the value: messages show it.
bool depends_on_value(std::string_view path);

// Unknown elements here are refused instead of warned about: a mistyped <readonly/> must not be
// lost.
bool refuses_unknown_children(std::string_view path);

// The element of those that one slip makes of the last one of `path`, or "": <disc> is meant to be
// a <disk>, and a guest without its disk is no guest.
std::string_view costly_slip(std::string_view path);

}  // namespace hull::config
