// What the reader of a document has to say: warnings and refusals, each with its place.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/verdicts.h"

namespace hull::config {

struct XmlElement;

struct Finding {
  std::string xpath;    // "/domain/devices/disk[2]/target/@bus"; empty: the domain as a whole
  std::string message;  // without the path
  unsigned line = 0;    // of the element; 0: none
  unsigned column = 0;

  // "/domain/devices/tpm: refused: …"
  std::string text() const;
};

struct ReadOptions {
  bool strict = false;  // every warning is a refusal
  // Refusals that become warnings: "/domain/devices/tpm", "/domain/devices/disk[2]",
  // "disk/@device", "tpm", "qemu:commandline". An element stands for everything below it.
  std::vector<std::string> ignore;
};

// Collects findings. A document that is all mistakes cannot make the list long.
class Findings {
 public:
  static constexpr size_t kMaxFindings = 200;

  explicit Findings(const ReadOptions& options) : options_(options) {}

  // What `row` says about a node (`attribute` empty: the element itself).
  void report(const VerdictRow& row, const XmlElement& element, std::string_view attribute,
              std::string_view detail = {});
  // The same for a row with `when` == `condition`, which must exist.
  void report_computed(const XmlElement& element, std::string_view attribute,
                       std::string_view condition, std::string_view detail = {});
  // A node that the table does not know.
  void report_unknown(const XmlElement& element, std::string_view attribute, bool refuse);
  // A value that cannot be understood; --ignore does not help.
  void invalid(const XmlElement& element, std::string_view attribute, std::string_view message);
  // What validate() said.
  void problem(std::string message);
  // Warns of words of --ignore that matched nothing.
  void check_ignored();

  // In the order of the document.
  std::vector<Finding> take_warnings() { return std::move(warnings_); }
  std::vector<Finding> take_refusals() { return std::move(refusals_); }

 private:
  Finding make(const XmlElement& element, std::string_view attribute, bool show_value) const;
  void add_warning(Finding finding);
  void add_refusal(Finding finding);
  void refuse_unless_ignored(Finding finding, const XmlElement& element, std::string_view attribute,
                             std::string_view message);
  bool is_ignored(const XmlElement& element, std::string_view attribute);

  const ReadOptions& options_;
  std::set<std::string_view> said_;  // texts of kOnce rows
  std::set<std::string_view> used_ignores_;
  std::vector<Finding> warnings_;
  std::vector<Finding> refusals_;
};

}  // namespace hull::config
