#include "config/ignore_words.h"

#include <algorithm>
#include <string>
#include <vector>

#include "config/values.h"
#include "config/xml.h"

namespace hull::config {

namespace {

struct Step {
  std::string name;  // "disk", "@device"
  size_t index = 0;  // 1-based; 0: any
};

std::vector<Step> steps_to(const XmlElement& element, std::string_view attribute) {
  std::vector<Step> steps;
  if (!attribute.empty()) steps.push_back({"@" + std::string(attribute), 1});
  for (const XmlElement* node = &element; node != nullptr; node = node->parent)
    steps.push_back({node->name.display(), node->position()});
  std::ranges::reverse(steps);
  return steps;
}

Step parse_step(std::string_view text) {
  const size_t bracket = text.find('[');
  if (bracket == std::string_view::npos || !text.ends_with(']')) return {std::string(text), 0};
  const auto index = parse_number(text.substr(bracket + 1, text.size() - bracket - 2));
  if (!index || *index == 0) return {std::string(text), 0};  // means nothing
  return {std::string(text.substr(0, bracket)), static_cast<size_t>(*index)};
}

// The end of the first step: a slash, but not one of a namespace ("{http://x}readonly").
size_t end_of_step(std::string_view named) {
  const size_t from = named.starts_with('{') ? named.find('}') : 0;
  return std::min(named.find('/', from), named.size());
}

std::vector<Step> parse_steps(std::string_view named) {
  std::vector<Step> steps;
  while (!named.empty()) {
    const size_t slash = end_of_step(named);
    steps.push_back(parse_step(named.substr(0, slash)));
    named.remove_prefix(std::min(slash + 1, named.size()));
  }
  return steps;
}

bool matches(const Step& actual, const Step& wanted) {
  return wanted.name == actual.name && (wanted.index == 0 || wanted.index == actual.index);
}

bool names_too_much(std::string_view named) {
  for (const std::string_view all :
       {"", "/", "/domain", "domain", "/domain/devices", "domain/devices", "devices"})
    if (named == all) return true;
  return false;
}

}  // namespace

bool names_node(std::string_view named, const XmlElement& element, std::string_view attribute) {
  if (names_too_much(named)) return false;
  const bool absolute = named.starts_with('/');
  const std::vector<Step> wanted = parse_steps(absolute ? named.substr(1) : named);
  const std::vector<Step> actual = steps_to(element, attribute);
  const auto found = std::ranges::search(actual, wanted, matches);
  return !found.empty() && (!absolute || found.begin() == actual.begin());
}

}  // namespace hull::config
