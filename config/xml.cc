#include "config/xml.h"

// expat.h declares its guard against amplification only with this name defined.
#define XML_DTD 1
#include <expat.h>
#include <sys/random.h>

#include <algorithm>

#include "base/check.h"
#include "base/log.h"

namespace hull::config {

namespace {

// Between the parts of an expanded name (expat refuses namespace URIs that contain it).
constexpr char kSeparator = '\n';

struct ParserDeleter {
  void operator()(XML_Parser parser) const { XML_ParserFree(parser); }
};
using ParserHandle = std::unique_ptr<XML_ParserStruct, ParserDeleter>;

XmlName split_name(std::string_view expanded) {
  XmlName name;
  const size_t first = expanded.find(kSeparator);
  if (first == std::string_view::npos) {
    name.local = expanded;
    return name;
  }
  name.namespace_uri = expanded.substr(0, first);
  const size_t second = expanded.find(kSeparator, first + 1);
  if (second == std::string_view::npos) {
    name.local = expanded.substr(first + 1);
  } else {
    name.local = expanded.substr(first + 1, second - first - 1);
    name.prefix = expanded.substr(second + 1);
  }
  return name;
}

// Receives expat's events and builds the tree. The first complaint stops the parser.
class TreeBuilder {
 public:
  explicit TreeBuilder(XML_Parser parser) : parser_(parser) {}

  std::unique_ptr<XmlElement> take_root() { return std::move(root_); }
  const std::string& complaint() const { return complaint_; }

  void declaration(const char* encoding) {
    if (encoding == nullptr) return;
    std::string lower(std::string_view(encoding).substr(0, 16));
    for (char& c : lower)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    for (const std::string_view known : {"utf-8", "utf8", "us-ascii", "ascii"})
      if (lower == known) return;
    complain(fmt::format("encoding '{}': only UTF-8 is accepted", lower));
  }

  void namespace_declared(const char* prefix, const char* uri) {
    if (uri != nullptr && std::string_view(uri).size() > kMaxXmlNamespaceBytes)
      complain(fmt::format("a namespace is longer than {} bytes", kMaxXmlNamespaceBytes));
    declared_prefixes_.emplace_back(prefix == nullptr ? "" : prefix);
  }
  void namespace_ended() {
    if (!declared_prefixes_.empty()) declared_prefixes_.pop_back();
  }

  bool is_declared(std::string_view prefix) const {
    return prefix == "xml" || prefix == "xmlns" ||
           std::ranges::find(declared_prefixes_, prefix) != declared_prefixes_.end();
  }

  // The innermost that has begun and not ended; null: none.
  const XmlElement* open_element() const { return current_; }

  void start(const char* expanded_name, const char** attributes) {
    if (stopped() || !admit_element(expanded_name)) return;
    auto element = std::make_unique<XmlElement>();
    element->name = split_name(expanded_name);
    element->line = static_cast<unsigned>(XML_GetCurrentLineNumber(parser_));
    element->column = static_cast<unsigned>(XML_GetCurrentColumnNumber(parser_)) + 1;
    element->parent = current_;
    if (!add_attributes(*element, attributes)) return;
    XmlElement* added = element.get();
    if (current_ == nullptr)
      root_ = std::move(element);
    else
      current_->children.push_back(std::move(element));
    current_ = added;
    ++depth_;
  }

  void end() {
    if (stopped()) return;
    CHECK(current_ != nullptr);
    // The tree is mutable only here; the pointer upwards is const for everybody else.
    current_ = const_cast<XmlElement*>(current_->parent);
    --depth_;
  }

  void text(std::string_view characters) {
    if (stopped() || current_ == nullptr) return;
    if (current_->text.size() + characters.size() > kMaxXmlTextBytes)
      return complain(fmt::format("text of <{}> is longer than {} bytes", current_->name.display(),
                                  kMaxXmlTextBytes));
    current_->text.append(characters);
  }

  void complain(std::string what) {
    if (stopped()) return;
    complaint_ = std::move(what);
    XML_StopParser(parser_, XML_FALSE);
  }

 private:
  // expat may deliver a few more events after XML_StopParser().
  bool stopped() const { return !complaint_.empty(); }

  bool admit_element(std::string_view expanded_name) {
    if (depth_ >= kMaxXmlDepth)
      complain(fmt::format("elements are nested deeper than {}", kMaxXmlDepth));
    else if (++elements_ > kMaxXmlElements)
      complain(fmt::format("more than {} elements", kMaxXmlElements));
    else if (!name_fits(expanded_name))
      complain(fmt::format("an element name is longer than {} bytes", kMaxXmlNameBytes));
    return !stopped();
  }

  bool add_attributes(XmlElement& element, const char** attributes) {
    for (; attributes[0] != nullptr; attributes += 2) {
      const std::string_view value = attributes[1];
      if (!name_fits(attributes[0]))
        complain(fmt::format("an attribute name is longer than {} bytes", kMaxXmlNameBytes));
      else if (value.size() > kMaxXmlValueBytes)
        complain(fmt::format("an attribute of <{}> is longer than {} bytes", element.name.display(),
                             kMaxXmlValueBytes));
      else if (element.attributes.size() >= kMaxXmlAttributesPerElement)
        complain(fmt::format("<{}> has more than {} attributes", element.name.display(),
                             kMaxXmlAttributesPerElement));
      else if (++attributes_ > kMaxXmlAttributes)
        complain(fmt::format("more than {} attributes", kMaxXmlAttributes));
      if (stopped()) return false;
      element.attributes.push_back({split_name(attributes[0]), std::string(value)});
    }
    return true;
  }

  // An expanded name is URI, local name and prefix; the URI has its own limit.
  static bool name_fits(std::string_view expanded) {
    const size_t uri = expanded.find(kSeparator);
    const size_t rest = uri == std::string_view::npos ? expanded.size() : expanded.size() - uri;
    return rest <= kMaxXmlNameBytes;
  }

  XML_Parser parser_;
  std::unique_ptr<XmlElement> root_;
  XmlElement* current_ = nullptr;
  size_t depth_ = 0;
  size_t elements_ = 0;
  size_t attributes_ = 0;
  std::vector<std::string> declared_prefixes_;  // of the open elements; at most one per attribute
  std::string complaint_;
};

TreeBuilder& builder_of(void* user_data) { return *static_cast<TreeBuilder*>(user_data); }

void on_declaration(void* user, const char*, const char* encoding, int) {
  builder_of(user).declaration(encoding);
}
void on_doctype(void* user, const char*, const char*, const char*, int) {
  builder_of(user).complain("a DOCTYPE is not accepted");
}
void on_namespace(void* user, const char* prefix, const char* uri) {
  builder_of(user).namespace_declared(prefix, uri);
}
void on_namespace_end(void* user, const char*) { builder_of(user).namespace_ended(); }
void on_start(void* user, const char* name, const char** attributes) {
  builder_of(user).start(name, attributes);
}
void on_end(void* user, const char*) { builder_of(user).end(); }
void on_text(void* user, const char* characters, int length) {
  builder_of(user).text({characters, static_cast<size_t>(length)});
}

void guard(XML_Parser parser) {
  unsigned long salt = 0;
  // Without a salt expat makes one from the clock and addresses: a fallback, not a failure.
  if (::getrandom(&salt, sizeof salt, GRND_NONBLOCK) == sizeof salt && salt != 0)
    XML_SetHashSalt(parser, salt);
  // A second line of defence: without a DOCTYPE nothing can expand.
  XML_SetBillionLaughsAttackProtectionMaximumAmplification(parser, 2.0F);
  XML_SetBillionLaughsAttackProtectionActivationThreshold(parser, kMaxXmlBytes);
}

// The first prefix in the tag at the beginning of `rest` that nobody declared; empty: none found.
std::string_view undeclared_prefix(std::string_view rest, const TreeBuilder& builder) {
  constexpr std::string_view kBetweenNames = "<>/= \t\r\n\"'";
  rest = rest.substr(0, rest.find('>'));
  const std::string_view tag = rest;  // expat has forgotten what an empty element declares itself
  const auto declared = [&](std::string_view prefix) {
    return builder.is_declared(prefix) ||
           tag.find(fmt::format("xmlns:{}", prefix)) != std::string_view::npos;
  };
  while (!rest.empty()) {
    const size_t end = std::min(rest.find_first_of(kBetweenNames), rest.size());
    const size_t colon = rest.substr(0, end).find(':');
    if (colon != std::string_view::npos && !declared(rest.substr(0, colon)))
      return rest.substr(0, colon);
    const bool quote = end < rest.size() && (rest[end] == '"' || rest[end] == '\'');
    const size_t close = quote ? rest.find(rest[end], end + 1) : end;
    rest.remove_prefix(std::min(close, rest.size() - 1) + 1);
  }
  return {};
}

bool same_name(const XmlElement& a, const XmlElement& b) {
  return a.name.local == b.name.local && a.name.namespace_uri == b.name.namespace_uri;
}

std::string describe_unbound_prefix(std::string_view rest, const TreeBuilder& builder) {
  const std::string_view prefix = undeclared_prefix(rest, builder);
  if (prefix.empty() || prefix.size() > kMaxXmlNameBytes) return "a prefix is not declared";
  return fmt::format("the prefix '{0}' is not declared (xmlns:{0}='{1}')", prefix,
                     prefix == "qemu" ? kQemuNamespace : "…");
}

// What expat calls "no element found" and "unclosed token", also where there are elements.
std::string describe_early_end(const TreeBuilder& builder, std::string_view document) {
  if (const XmlElement* const open = builder.open_element())
    return fmt::format("ends before </{}>", open->name.display());
  if (trim(document).empty()) return "is empty";
  return "ends before its first element is complete";
}

std::string describe_failure(XML_Parser parser, const TreeBuilder& builder,
                             std::string_view document) {
  if (!builder.complaint().empty()) return builder.complaint();
  const XML_Error code = XML_GetErrorCode(parser);
  const XML_Index place = XML_GetCurrentByteIndex(parser);
  if (code == XML_ERROR_UNBOUND_PREFIX && place >= 0 &&
      static_cast<size_t>(place) < document.size())
    return describe_unbound_prefix(document.substr(static_cast<size_t>(place)), builder);
  if (code == XML_ERROR_JUNK_AFTER_DOC_ELEMENT) return "something follows the root element";
  if (code == XML_ERROR_NO_ELEMENTS || code == XML_ERROR_UNCLOSED_TOKEN ||
      code == XML_ERROR_PARTIAL_CHAR || code == XML_ERROR_UNCLOSED_CDATA_SECTION)
    return describe_early_end(builder, document);
  return XML_ErrorString(code);
}

// expat recognises UTF-16 by itself, whatever it was told. UTF-8 contains neither NUL (which XML
// forbids) nor the bytes of a UTF-16 mark.
bool may_be_utf8(std::string_view document) {
  return document.find('\0') == std::string_view::npos && !document.starts_with('\xff') &&
         !document.starts_with('\xfe');
}

}  // namespace

std::string_view trim(std::string_view text) {
  constexpr std::string_view kWhiteSpace = " \t\r\n";
  const size_t first = text.find_first_not_of(kWhiteSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kWhiteSpace) - first + 1);
}

std::string XmlName::display() const {
  const bool ours = namespace_uri.empty() || namespace_uri == kQemuNamespace;
  return ours || prefix.empty() ? expanded() : fmt::format("{}:{}", prefix, local);
}

std::string XmlName::expanded() const {
  if (namespace_uri.empty()) return local;
  if (namespace_uri == kQemuNamespace) return "qemu:" + local;
  return fmt::format("{{{}}}{}", namespace_uri, local);
}

const std::string* XmlElement::attribute(std::string_view attribute_name) const {
  for (const XmlAttribute& candidate : attributes)
    if (candidate.name.plain(attribute_name)) return &candidate.value;
  return nullptr;
}

const XmlElement* XmlElement::child(std::string_view child_name) const {
  for (const auto& candidate : children)
    if (candidate->name.plain(child_name)) return candidate.get();
  return nullptr;
}

std::vector<const XmlElement*> XmlElement::children_named(std::string_view child_name) const {
  std::vector<const XmlElement*> named;
  for (const auto& candidate : children)
    if (candidate->name.plain(child_name)) named.push_back(candidate.get());
  return named;
}

std::string_view XmlElement::value(std::string_view attribute_name,
                                   std::string_view fallback) const {
  const std::string* found = attribute(attribute_name);
  return found == nullptr ? fallback : std::string_view(*found);
}

std::string_view XmlElement::trimmed_text() const { return trim(text); }

size_t XmlElement::position() const {
  if (parent == nullptr) return 1;
  size_t position = 0;
  for (const auto& sibling : parent->children) {
    if (same_name(*sibling, *this)) ++position;
    if (sibling.get() == this) break;
  }
  return position;
}

std::string XmlElement::xpath() const {
  const std::string shown = name.display();
  if (parent == nullptr) return "/" + shown;
  const bool alone = std::ranges::count_if(parent->children, [&](const auto& sibling) {
                       return same_name(*sibling, *this);
                     }) == 1;
  return fmt::format("{}/{}{}", parent->xpath(), shown,
                     alone ? "" : fmt::format("[{}]", position()));
}

Result<std::unique_ptr<XmlElement>> parse_xml(std::string_view document,
                                              std::string_view source_name) {
  if (document.size() > kMaxXmlBytes)
    return fail(ErrorKind::kInvalidConfig, "{}: larger than {} bytes", source_name, kMaxXmlBytes);
  if (!may_be_utf8(document))
    return fail(ErrorKind::kInvalidConfig, "{}: is not text in UTF-8", source_name);
  const ParserHandle parser(XML_ParserCreateNS("UTF-8", kSeparator));
  if (!parser) return fail(ErrorKind::kHost, "{}: no memory for the XML parser", source_name);
  guard(parser.get());
  TreeBuilder builder(parser.get());
  XML_SetUserData(parser.get(), &builder);
  XML_SetReturnNSTriplet(parser.get(), 1);
  XML_SetXmlDeclHandler(parser.get(), on_declaration);
  XML_SetStartDoctypeDeclHandler(parser.get(), on_doctype);
  XML_SetNamespaceDeclHandler(parser.get(), on_namespace, on_namespace_end);
  XML_SetElementHandler(parser.get(), on_start, on_end);
  XML_SetCharacterDataHandler(parser.get(), on_text);
  const XML_Status status =
      XML_Parse(parser.get(), document.data(), static_cast<int>(document.size()), XML_TRUE);
  if (status != XML_STATUS_OK || !builder.complaint().empty())
    return fail(ErrorKind::kInvalidConfig, "{}:{}:{}: {}", source_name,
                XML_GetCurrentLineNumber(parser.get()),
                XML_GetCurrentColumnNumber(parser.get()) + 1,
                printable(describe_failure(parser.get(), builder, document)));
  return builder.take_root();
}

}  // namespace hull::config
