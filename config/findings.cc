#include "config/findings.h"

#include <algorithm>

#include "base/text.h"
#include "config/ignore_words.h"
#include "config/xml.h"

namespace hull::config {

namespace {

constexpr size_t kShownValueBytes = 64;

std::string shown_value(std::string_view value) { return printable(value, kShownValueBytes); }

std::string node_path(const XmlElement& element, std::string_view attribute) {
  std::string path = element.xpath();
  if (!attribute.empty()) path.append("/@").append(attribute);
  return path;
}

// What a user types: "tpm", "disk[2]/@device".
std::string_view short_path(std::string_view path) {
  for (const std::string_view prefix : {"/domain/devices/", "/domain/"})
    if (path.starts_with(prefix)) return path.substr(prefix.size());
  return path;
}

// What decides on a node: its own row, or that of an element above that speaks for all below it.
bool is_honoured(const VerdictRow* row, const XmlElement& element) {
  for (const XmlElement* node = &element; row == nullptr && node != nullptr; node = node->parent) {
    const VerdictRow* above = find_verdict(verdict_path(*node, {}), node->trimmed_text(), *node);
    if (above != nullptr && above->has(kSubtree)) row = above;
  }
  return row != nullptr && row->verdict == Verdict::kHonour;
}

// In the order of the document; what has no place comes last.
bool earlier(const Finding& a, const Finding& b) {
  const auto place = [](const Finding& finding) {
    return std::pair(finding.line == 0 ? UINT32_MAX : finding.line, finding.column);
  };
  return place(a) < place(b);
}

}  // namespace

std::string Finding::text() const {
  std::string all = xpath.empty() ? message : fmt::format("{}: {}", xpath, message);
  if (!remedy.empty()) all += fmt::format(" ({})", remedy);
  return all;
}

std::string Finding::text_in(std::string_view source) const {
  return line == 0 ? fmt::format("{}: {}", printable(source), text())
                   : fmt::format("{}:{}:{}: {}", printable(source), line, column, text());
}

void Findings::List::add(Finding finding) {
  finding.xpath = printable(finding.xpath);
  finding.message = printable(finding.message);
  finding.remedy = printable(finding.remedy);
  const auto place = std::ranges::upper_bound(findings, finding, earlier);
  // What is said already at this place is not said again.
  for (auto known = place; known != findings.begin() && !earlier(*std::prev(known), finding);
       --known)
    if (std::prev(known)->text() == finding.text()) return;
  if (findings.size() >= kMaxFindings)
    ++left_out;
  else
    findings.insert(place, std::move(finding));
}

void Findings::report(const VerdictRow& row, const XmlElement& element, std::string_view attribute,
                      std::string_view detail) {
  if (row.verdict == Verdict::kHonour || row.verdict == Verdict::kSilent) return;
  const bool ignored = is_ignored(element, attribute);
  if (row.has(kOnce) && !is_first(row, ignored)) return;
  Finding finding = make(element, attribute, depends_on_value(row.pattern));
  finding.message =
      detail.empty() ? std::string(row.text) : fmt::format("{} ({})", row.text, detail);
  if (row.verdict == Verdict::kWarn) return warn(std::move(finding), element, attribute);
  if (!row.has(kFinal)) return refuse_unless_ignored(std::move(finding), element, attribute);
  finding.message = fmt::format("refused: {}", finding.message);
  refusals_.add(std::move(finding));
}

void Findings::report_computed(const XmlElement& element, std::string_view attribute,
                               std::string_view condition, std::string_view detail) {
  const VerdictRow* row = find_computed_verdict(verdict_path(element, attribute), condition);
  if (row == nullptr) return report_unknown(element, attribute);
  report(*row, element, attribute, detail);
}

void Findings::report_unknown(const XmlElement& element, std::string_view attribute) {
  const std::string_view meant =
      attribute.empty() ? costly_slip(verdict_path(element, {})) : std::string_view();
  const bool refuse =
      !meant.empty() || (attribute.empty() && element.parent != nullptr &&
                         refuses_unknown_children(verdict_path(*element.parent, {})));
  Finding finding = make(element, attribute, false);
  finding.message = attribute.empty() ? "unknown element" : "unknown attribute";
  if (!refuse) {
    finding.message += ", ignored";
    return warn(std::move(finding), element, attribute);
  }
  if (!meant.empty()) finding.message += fmt::format(", is <{}> meant?", meant);
  finding.message += ": a slip of the pen here may cost data or isolation";
  refuse_unless_ignored(std::move(finding), element, attribute);
}

void Findings::bad_value(const XmlElement& element, std::string_view attribute,
                         std::string_view value, std::string_view message) {
  const VerdictRow* row = find_verdict(verdict_path(element, attribute), value, element);
  if (row != nullptr && row->verdict == Verdict::kRefuse) return report(*row, element, attribute);
  Finding finding = make(element, attribute, true);
  finding.message = message;
  if (is_honoured(row, element)) return refusals_.add(std::move(finding));
  refuse_unless_ignored(std::move(finding), element, attribute);
}

void Findings::invalid(const XmlElement& element, std::string_view attribute,
                       std::string_view message) {
  Finding finding = make(element, attribute, false);
  finding.message = message;
  refusals_.add(std::move(finding));
}

void Findings::finish() {
  for (const std::string& named : options_.ignore) {
    if (used_ignores_.contains(named)) continue;
    Finding finding;
    finding.message = fmt::format("{}--ignore={}: nothing by that name is refused",
                                  options_.strict ? "refused by --strict: " : "", named);
    (options_.strict ? refusals_ : warnings_).add(std::move(finding));
  }
  const auto close = [&](const List& list, std::string_view what) {
    if (list.left_out == 0) return;
    Finding finding;
    finding.message = fmt::format(
        "and {} more {}: hull starts nothing that it cannot explain in "
        "{} lines",
        list.left_out, what, kMaxFindings);
    refusals_.findings.push_back(std::move(finding));
  };
  close(refusals_, "refusals");
  close(warnings_, "warnings");
}

Finding Findings::make(const XmlElement& element, std::string_view attribute,
                       bool show_value) const {
  Finding finding;
  finding.xpath = node_path(element, attribute);
  finding.line = element.line;
  finding.column = element.column;
  if (show_value)
    finding.xpath += fmt::format(
        "='{}'",
        shown_value(attribute.empty() ? element.trimmed_text() : element.value(attribute)));
  return finding;
}

void Findings::warn(Finding finding, const XmlElement& element, std::string_view attribute) {
  const bool ignored = is_ignored(element, attribute);
  if (!options_.strict) return warnings_.add(std::move(finding));
  if (ignored) {
    finding.message = fmt::format("ignored as --ignore says: {}", finding.message);
    return warnings_.add(std::move(finding));
  }
  finding.message = fmt::format("refused by --strict: {}", finding.message);
  finding.remedy = fmt::format("skip with --ignore={}", short_path(node_path(element, attribute)));
  refusals_.add(std::move(finding));
}

void Findings::refuse_unless_ignored(Finding finding, const XmlElement& element,
                                     std::string_view attribute) {
  if (is_ignored(element, attribute)) {
    // Asked for by name: --strict does not bring it back.
    finding.message = fmt::format("ignored as --ignore says: {}", finding.message);
    return warnings_.add(std::move(finding));
  }
  finding.message = fmt::format("refused: {}", finding.message);
  finding.remedy = fmt::format("skip with --ignore={}", short_path(node_path(element, attribute)));
  refusals_.add(std::move(finding));
}

bool Findings::is_ignored(const XmlElement& element, std::string_view attribute) {
  bool ignored = false;
  for (const std::string& named : options_.ignore) {
    if (!names_node(named, element, attribute)) continue;
    used_ignores_.insert(named);
    ignored = true;
  }
  return ignored;
}

bool Findings::is_first(const VerdictRow& row, bool ignored) {
  return said_
      .insert(
          fmt::format("{}{}{}", ignored ? "-" : "+", options_.strict ? row.pattern : "", row.text))
      .second;
}

}  // namespace hull::config
