// <encryption>: how an image is encrypted, and which secret opens it.
#include "config/reader_parts.h"
#include "config/values.h"

namespace hull::config {

namespace {

// The name by which the user gives the secret; empty, with a finding, if there is none.
std::string read_secret_id(const XmlElement& encryption, Findings& findings) {
  const XmlElement* secret = encryption.child("secret");
  if (secret == nullptr) {
    findings.invalid(encryption, {}, "has no <secret>");
    return {};
  }
  const std::string* uuid = secret->attribute("uuid");
  const std::string* usage = secret->attribute("usage");
  if (secret->attribute("type") == nullptr) findings.invalid(*secret, {}, "has no type");
  if ((uuid == nullptr) == (usage == nullptr)) {
    findings.invalid(*secret, {}, "has to have one of uuid and usage");
    return {};
  }
  if (uuid != nullptr && !parse_uuid(*uuid)) findings.invalid(*secret, "uuid", "is not a UUID");
  const std::string& id = uuid != nullptr ? *uuid : *usage;
  if (id.empty()) findings.invalid(*secret, "usage", "is empty");
  return secret_id(id);
}

}  // namespace

std::optional<EncryptionConfig> read_encryption(const XmlElement* of_disk, const XmlElement* source,
                                                Findings& findings) {
  const XmlElement* const of_source = source == nullptr ? nullptr : source->child("encryption");
  if (of_disk != nullptr && of_source != nullptr)
    findings.invalid(*of_source, {}, "is given more than once");
  const XmlElement* const encryption = of_disk != nullptr ? of_disk : of_source;
  if (encryption == nullptr) return std::nullopt;
  if (encryption->attribute("format") == nullptr)
    findings.invalid(*encryption, {}, "has no format");
  EncryptionConfig config;
  if (encryption->value("format") == "qcow") config.method = EncryptionMethod::kAes;
  config.secret_id = read_secret_id(*encryption, findings);
  return config;
}

}  // namespace hull::config
