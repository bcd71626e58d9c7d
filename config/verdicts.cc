#include "config/verdicts.h"

#include "base/check.h"
#include "config/edit_distance.h"
#include "config/verdict_rows.h"
#include "config/xml.h"

namespace hull::config {

namespace {

// Where a slip of the pen may cost data or isolation.
constexpr std::string_view kCostly[] = {"/domain/devices/disk", "/domain/devices/interface",
                                        "/domain/devices/filesystem", "/domain/seclabel",
                                        "/domain/launchSecurity"};

bool is_one_of(std::string_view value, std::string_view words) {
  for (;;) {
    const size_t bar = words.find('|');
    if (words.substr(0, bar) == value) return true;
    if (bar == std::string_view::npos) return false;
    words.remove_prefix(bar + 1);
  }
}

bool applies(const VerdictRow& row, std::string_view value, const XmlElement& element) {
  if (row.when.empty()) return true;
  if (row.when.front() == '~') return false;
  if (row.when.front() != '@') return is_one_of(value, row.when);
  const size_t equals = row.when.find('=');
  return is_one_of(element.value(row.when.substr(1, equals - 1)), row.when.substr(equals + 1));
}

bool lists_values(const VerdictRow& row) {
  return !row.when.empty() && row.when.front() != '~' && row.when.front() != '@';
}

// "/domain/devices/rng/alias" to "/domain/devices/*/alias"; empty if the path is not below a
// device.
std::string any_device_path(std::string_view path) {
  constexpr std::string_view kDevices = "/domain/devices/";
  if (!path.starts_with(kDevices)) return {};
  const size_t end = path.find('/', kDevices.size());
  if (end == std::string_view::npos) return {};
  return fmt::format("{}*{}", kDevices, path.substr(end));
}

// The first row of this very pattern that `matches`.
template <class Matches>
const VerdictRow* first_row(std::string_view pattern, Matches matches) {
  for (const auto group : verdict_groups())
    for (const VerdictRow& row : group)
      if (row.pattern == pattern && matches(row)) return &row;
  return nullptr;
}

}  // namespace

std::span<const std::span<const VerdictRow>> verdict_groups() {
  static const std::span<const VerdictRow> groups[] = {
      domain_rows(), cpu_rows(), device_rows(), disk_rows(), encryption_rows(), interface_rows()};
  return groups;
}

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHonour: return "honour";
    case Verdict::kSilent: return "silent";
    case Verdict::kWarn: return "warn";
    case Verdict::kRefuse: return "refuse";
  }
  CHECK(false);
}

std::string verdict_path(const XmlElement& element, std::string_view attribute) {
  std::string path = element.parent == nullptr ? "" : verdict_path(*element.parent, {});
  std::string name = element.name.expanded();
  // One row serves <serial> and <console>: they are two descriptions of the same device.
  if (name == "console" && path == "/domain/devices") name = "serial";
  // And one set of rows <encryption>, wherever it may stand.
  if (name == "encryption" &&
      (path == "/domain/devices/disk/source" || path == "/domain/devices/disk/backingStore/source"))
    path = "/domain/devices/disk";
  if (name != "backingStore" || !path.ends_with("/backingStore")) path.append("/").append(name);
  if (!attribute.empty()) path.append("/@").append(attribute);
  return path;
}

const VerdictRow* find_verdict(std::string_view path, std::string_view value,
                               const XmlElement& element) {
  const auto matches = [&](const VerdictRow& row) { return applies(row, value, element); };
  if (const VerdictRow* row = first_row(path, matches)) return row;
  const std::string any_device = any_device_path(path);
  return any_device.empty() ? nullptr : first_row(any_device, matches);
}

const VerdictRow* find_computed_verdict(std::string_view path, std::string_view condition) {
  return first_row(path, [&](const VerdictRow& row) { return row.when == condition; });
}

bool depends_on_value(std::string_view path) {
  if (first_row(path, lists_values) != nullptr) return true;
  const auto computed = [](const VerdictRow& row) { return row.when.starts_with('~'); };
  return path.find("/@") != std::string_view::npos && first_row(path, computed) != nullptr;
}

bool refuses_unknown_children(std::string_view path) {
  for (const std::string_view root : kCostly)
    if (path == root || (path.starts_with(root) && path[root.size()] == '/')) return true;
  return false;
}

std::string_view costly_slip(std::string_view path) {
  const size_t name = path.rfind('/') + 1;
  for (const std::string_view root : kCostly)
    if (root.substr(0, name) == path.substr(0, name) && root.size() > name &&
        path.size() <= root.size() + 1 && root.find('/', name) == std::string_view::npos &&
        edit_distance(path.substr(name), root.substr(name)) <= 1)
      return root.substr(name);
  return {};
}

}  // namespace hull::config
