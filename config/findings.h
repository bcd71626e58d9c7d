// What the reader of a document has to say: warnings and refusals, each with its place.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "config/verdicts.h"

namespace hull::config {

struct XmlElement;

// The texts are as printable() shows them (base/log.h): one line each, whatever the document holds.
struct Finding {
  std::string xpath;    // "/domain/devices/disk[2]/target/@bus='sata'"; empty: not about a node
  std::string message;  // without the path and the remedy
  std::string remedy;   // "skip with --ignore=tpm"; empty: none
  unsigned line = 0;    // of the element; 0: none
  unsigned column = 0;

  // "/domain/devices/tpm: refused: … (skip with --ignore=tpm)"
  std::string text() const;
  // The same behind "SOURCE:LINE:COLUMN: ".
  std::string text_in(std::string_view source) const;
};

// What stands in for the boot part of a document. A kernel comes with its own initrd and command
// line: those of the document's are dropped with it. The paths are absolute.
struct BootOverride {
  std::optional<std::string> kernel, initrd, cmdline;
};

struct ReadOptions {
  bool strict = false;  // every warning is a refusal
  // Refusals that become warnings: "/domain/devices/tpm", "/domain/devices/disk[2]",
  // "disk/@device", "tpm", "qemu:commandline". An element stands for everything below it. With
  // `strict` also warnings that stay warnings.
  std::vector<std::string> ignore = {};
  BootOverride boot = {};
};

// Collects findings. A document that is all mistakes cannot make the list long, and nothing of a
// document that is accepted is left out: one with more to say than kMaxFindings is refused.
class Findings {
 public:
  static constexpr size_t kMaxFindings = 1000;

  explicit Findings(const ReadOptions& options) : options_(options) {}

  // What `row` says about a node (`attribute` empty: the element itself).
  void report(const VerdictRow& row, const XmlElement& element, std::string_view attribute,
              std::string_view detail = {});
  // The same for the row with `when` == `condition`; a node that has none is unknown.
  void report_computed(const XmlElement& element, std::string_view attribute,
                       std::string_view condition, std::string_view detail = {});
  // A node that the table does not know: refused where a slip of the pen costs data or isolation.
  void report_unknown(const XmlElement& element, std::string_view attribute);
  // A value that libvirt's parser refuses; if its row refuses it, in the words of that. --ignore
  // helps where hull leaves the thing out anyway.
  void bad_value(const XmlElement& element, std::string_view attribute, std::string_view value,
                 std::string_view message);
  // A value that cannot be understood; --ignore does not help.
  void invalid(const XmlElement& element, std::string_view attribute, std::string_view message);
  // Closes the lists: warns of words of --ignore that matched nothing, and counts what was too
  // much.
  void finish();

  // In the order of the document.
  std::vector<Finding> take_warnings() { return std::move(warnings_.findings); }
  std::vector<Finding> take_refusals() { return std::move(refusals_.findings); }

 private:
  struct List {
    std::vector<Finding> findings;
    size_t left_out = 0;

    void add(Finding finding);
  };

  Finding make(const XmlElement& element, std::string_view attribute, bool show_value) const;
  void warn(Finding finding, const XmlElement& element, std::string_view attribute);
  void refuse_unless_ignored(Finding finding, const XmlElement& element,
                             std::string_view attribute);
  bool is_ignored(const XmlElement& element, std::string_view attribute);
  // The first time that a kOnce row comes up; under --strict the first time at its own path, so
  // that one look at the refusals is enough to name them all.
  bool is_first(const VerdictRow& row, bool ignored);

  const ReadOptions& options_;
  std::set<std::string> said_;
  std::set<std::string_view> used_ignores_;
  List warnings_;
  List refusals_;
};

}  // namespace hull::config
