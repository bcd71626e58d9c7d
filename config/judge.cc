#include <algorithm>

#include "config/reader_parts.h"

namespace hull::config {

namespace {

class Judge {
 public:
  Judge(const std::vector<const XmlElement*>& skipped, Findings& findings)
      : skipped_(skipped), findings_(findings) {}

  void element(const XmlElement& node) {
    if (std::ranges::find(skipped_, &node) != skipped_.end()) return;
    const std::string path = verdict_path(node, {});
    const VerdictRow* row = find_verdict(path, node.trimmed_text(), node);
    if (row == nullptr) return findings_.report_unknown(node, {});
    findings_.report(*row, node, {});
    if (row->has(kSubtree)) return;
    for (const XmlAttribute& attribute : node.attributes) judge_attribute(path, node, attribute);
    for (const auto& child : node.children) {
      check_unique(node, *child);
      element(*child);
    }
  }

 private:
  void judge_attribute(const std::string& path, const XmlElement& node,
                       const XmlAttribute& attribute) {
    const std::string name = attribute.name.display();
    const VerdictRow* row = attribute.name.namespace_uri.empty()
                                ? find_verdict(path + "/@" + name, attribute.value, node)
                                : nullptr;
    if (row == nullptr)
      findings_.report_unknown(node, name);
    else
      findings_.report(*row, node, name);
  }

  // Which of two would count? libvirt takes the first without a word.
  void check_unique(const XmlElement& parent, const XmlElement& child) {
    if (!child.name.namespace_uri.empty() || parent.child(child.name.local) == &child) return;
    if (is_unique(child)) findings_.invalid(child, {}, "is given more than once");
  }

  static bool is_unique(const XmlElement& child) {
    const VerdictRow* row = find_verdict(verdict_path(child, {}), child.trimmed_text(), child);
    return row != nullptr && row->has(kUnique);
  }

  const std::vector<const XmlElement*>& skipped_;
  Findings& findings_;
};

}  // namespace

void judge(const XmlElement& root, const std::vector<const XmlElement*>& skipped,
           Findings& findings) {
  Judge(skipped, findings).element(root);
}

}  // namespace hull::config
