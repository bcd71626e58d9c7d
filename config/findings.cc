#include "config/findings.h"

#include <algorithm>

#include "base/check.h"
#include "config/xml.h"

namespace hull::config {

namespace {

constexpr size_t kShownValueBytes = 64;

// Control characters of a document must not reach a terminal.
std::string shown_value(std::string_view value) {
  std::string shown;
  for (const char c : value.substr(0, kShownValueBytes)) {
    const auto byte = static_cast<unsigned char>(c);
    shown += byte < 0x20 || byte == 0x7f ? '?' : c;
  }
  return value.size() > kShownValueBytes ? shown + "…" : shown;
}

std::string node_path(const XmlElement& element, std::string_view attribute) {
  std::string path = element.xpath();
  if (!attribute.empty()) path.append("/@").append(attribute);
  return path;
}

// "/domain/devices/disk[2]/@type" to "/domain/devices/disk/@type".
std::string without_indexes(std::string_view path) {
  std::string plain;
  bool inside = false;
  for (const char c : path) {
    inside = inside || c == '[';
    if (!inside) plain += c;
    inside = inside && c != ']';
  }
  return plain;
}

// What a user types: "tpm", "disk[2]/@device".
std::string_view short_path(std::string_view path) {
  for (const std::string_view prefix : {"/domain/devices/", "/domain/"})
    if (path.starts_with(prefix)) return path.substr(prefix.size());
  return path;
}

// `named` is the node's path or one of its ancestors', or the last steps of such a path.
bool names_node(std::string_view named, std::string_view path) {
  if (named.starts_with('/'))
    return path.starts_with(named) && (path.size() == named.size() || path[named.size()] == '/');
  return fmt::format("{}/", path).find(fmt::format("/{}/", named)) != std::string::npos;
}

// Naming these would switch off all refusals at once.
bool names_too_much(std::string_view named) {
  for (const std::string_view all :
       {"", "/", "/domain", "domain", "/domain/devices", "domain/devices", "devices"})
    if (named == all) return true;
  return false;
}

// In the order of the document; what concerns the whole domain comes last.
bool earlier(const Finding& a, const Finding& b) {
  const auto place = [](const Finding& finding) {
    return std::pair(finding.line == 0 ? UINT32_MAX : finding.line, finding.column);
  };
  return place(a) < place(b);
}

void add_in_order(std::vector<Finding>& list, Finding finding) {
  if (list.size() >= Findings::kMaxFindings) return;
  list.insert(std::ranges::upper_bound(list, finding, earlier), std::move(finding));
}

}  // namespace

std::string Finding::text() const {
  return xpath.empty() ? message : fmt::format("{}: {}", xpath, message);
}

void Findings::report(const VerdictRow& row, const XmlElement& element, std::string_view attribute,
                      std::string_view detail) {
  if (row.verdict == Verdict::kHonour || row.verdict == Verdict::kSilent) return;
  if (row.has(kOnce) && !said_.insert(row.text).second) return;
  Finding finding = make(element, attribute, depends_on_value(row.pattern));
  const std::string message =
      detail.empty() ? std::string(row.text) : fmt::format("{} ({})", row.text, detail);
  if (row.verdict == Verdict::kWarn) {
    finding.message = message;
    return add_warning(std::move(finding));
  }
  if (!row.has(kFinal))
    return refuse_unless_ignored(std::move(finding), element, attribute, message);
  finding.message = fmt::format("refused: {}", message);
  add_refusal(std::move(finding));
}

void Findings::report_computed(const XmlElement& element, std::string_view attribute,
                               std::string_view condition, std::string_view detail) {
  const VerdictRow* row = find_computed_verdict(verdict_path(element, attribute), condition);
  CHECK(row != nullptr);
  report(*row, element, attribute, detail);
}

void Findings::report_unknown(const XmlElement& element, std::string_view attribute, bool refuse) {
  Finding finding = make(element, attribute, false);
  const std::string_view what = attribute.empty() ? "element" : "attribute";
  if (refuse)
    return refuse_unless_ignored(std::move(finding), element, attribute,
                                 fmt::format("unknown {}: a slip of the pen here may cost data or "
                                             "isolation",
                                             what));
  finding.message = fmt::format("unknown {}, ignored", what);
  add_warning(std::move(finding));
}

void Findings::invalid(const XmlElement& element, std::string_view attribute,
                       std::string_view message) {
  Finding finding = make(element, attribute, false);
  finding.message = message;
  add_refusal(std::move(finding));
}

void Findings::problem(std::string message) {
  add_refusal(Finding{.xpath = {}, .message = std::move(message)});
}

void Findings::check_ignored() {
  for (const std::string& named : options_.ignore)
    if (!used_ignores_.contains(named))
      add_warning(Finding{.xpath = {},
                          .message = fmt::format("--ignore={}: nothing by that name is refused",
                                                 shown_value(named))});
}

Finding Findings::make(const XmlElement& element, std::string_view attribute,
                       bool show_value) const {
  Finding finding{.xpath = node_path(element, attribute),
                  .message = {},
                  .line = element.line,
                  .column = element.column};
  if (show_value)
    finding.xpath += fmt::format(
        "='{}'",
        shown_value(attribute.empty() ? element.trimmed_text() : element.value(attribute)));
  return finding;
}

void Findings::add_warning(Finding finding) {
  if (options_.strict) {
    finding.message = fmt::format("refused by --strict: {}", finding.message);
    return add_refusal(std::move(finding));
  }
  add_in_order(warnings_, std::move(finding));
}

void Findings::add_refusal(Finding finding) { add_in_order(refusals_, std::move(finding)); }

void Findings::refuse_unless_ignored(Finding finding, const XmlElement& element,
                                     std::string_view attribute, std::string_view message) {
  if (is_ignored(element, attribute)) {
    // Asked for by name: --strict does not bring it back.
    finding.message = fmt::format("ignored as --ignore says: {}", message);
    return add_in_order(warnings_, std::move(finding));
  }
  finding.message = fmt::format("refused: {} (skip with --ignore={})", message,
                                short_path(node_path(element, attribute)));
  add_refusal(std::move(finding));
}

bool Findings::is_ignored(const XmlElement& element, std::string_view attribute) {
  const std::string path = node_path(element, attribute);
  const std::string plain = without_indexes(path);
  bool ignored = false;
  for (const std::string& named : options_.ignore) {
    if (names_too_much(named) || !(names_node(named, path) || names_node(named, plain))) continue;
    used_ignores_.insert(named);
    ignored = true;
  }
  return ignored;
}

}  // namespace hull::config
