#include "tools/hull/run_secrets.h"

#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/log.h"
#include "base/unique_fd.h"
#include "config/values.h"

namespace hull::cli {

namespace {

using blockcore::Secret;

struct SecretWord {
  std::string id;
  bool from_file = false;
  std::string place;  // a path, or the number of a descriptor
};

Result<SecretWord> split_word(const std::string& word) {
  const size_t file = word.find("=file:");
  const size_t fd = word.find("=fd:");
  const size_t end = std::min(file, fd);
  if (end == std::string::npos || end == 0)
    return fail(ErrorKind::kUsage,
                "--secret: say ID=file:PATH or ID=fd:N; what stands on a command line can be seen "
                "by every user");
  const bool from_file = file < fd;
  return SecretWord{config::secret_id(std::string_view(word).substr(0, end)), from_file,
                    word.substr(end + (from_file ? 6 : 4))};
}

Result<Secret> read_descriptor(const SecretWord& word) {
  const auto number = config::parse_number(word.place);
  if (!number || *number > INT32_MAX || ::fcntl(static_cast<int>(*number), F_GETFD) < 0)
    return fail(ErrorKind::kUsage, "--secret {}=fd:…: is not an open descriptor", word.id);
  const int fd = static_cast<int>(*number);
  auto secret = Secret::read_fd(fd, fmt::format("--secret {}", word.id));
  // The standard streams have other users.
  if (fd > STDERR_FILENO) UniqueFd closed(fd);
  return secret;
}

Result<Secret> read_secret(const SecretWord& word) {
  Secret secret =
      TRY(word.from_file
              ? Secret::read_file(word.place).with_context(fmt::format("--secret {}", word.id))
              : read_descriptor(word));
  if (secret.size_bytes() == 0)
    return fail(ErrorKind::kUsage, "--secret {}: nothing could be read", word.id);
  return secret;
}

config::EncryptionConfig to_encryption(const EncryptWords& words) {
  return {words.format == "aes" ? config::EncryptionMethod::kAes : config::EncryptionMethod::kLuks,
          config::secret_id(words.secret_id)};
}

// Checks one disk's needs against what there is.
class Needs {
 public:
  Needs(const std::string& domain, const vmm::DiskSecrets& secrets)
      : domain_(domain), secrets_(secrets) {}

  void add(const config::DiskConfig& disk, const std::string& image,
           const std::optional<config::EncryptionConfig>& encryption) {
    if (!encryption) return;
    named_.insert(encryption->secret_id);
    if (secrets_.contains(encryption->secret_id)) return;
    missing_ += fmt::format(
        "{}{}: disk {}: {} is encrypted: give the secret '{}' with --secret {}=file:PATH or "
        "--secret {}=fd:N",
        missing_.empty() ? "" : "\n", domain_, disk.target, image, encryption->secret_id,
        encryption->secret_id, encryption->secret_id);
  }
  const std::string& missing() const { return missing_; }
  bool names(const std::string& id) const { return named_.contains(id); }

 private:
  const std::string& domain_;
  const vmm::DiskSecrets& secrets_;
  std::set<std::string> named_;
  std::string missing_;
};

}  // namespace

Result<vmm::DiskSecrets> read_secrets(std::span<const std::string> options) {
  vmm::DiskSecrets secrets;
  for (const std::string& option : options) {
    const SecretWord word = TRY(split_word(option));
    auto secret = std::make_shared<const Secret>(TRY(read_secret(word)));
    if (!secrets.emplace(word.id, std::move(secret)).second)
      return fail(ErrorKind::kUsage, "--secret {}: is given twice", word.id);
  }
  return secrets;
}

Result<void> check_secrets(const config::DomainConfig& domain, const vmm::DiskSecrets& secrets) {
  Needs needs(domain.name, secrets);
  for (const config::DiskConfig& disk : domain.disks) {
    needs.add(disk, fmt::format("'{}'", disk.file), disk.encryption);
    for (const auto& encryption : disk.backing_encryption)
      needs.add(disk, fmt::format("a backing file of '{}'", disk.file), encryption);
    if (disk.backing)
      for (const config::BackingLevel& level : *disk.backing)
        needs.add(disk, fmt::format("'{}'", level.file), level.encryption);
  }
  if (!needs.missing().empty()) return std::unexpected(Error(ErrorKind::kUsage, needs.missing()));
  for (const auto& [id, secret] : secrets)
    if (!needs.names(id)) LOG_WARN("{}: --secret {}: no disk names it", domain.name, id);
  return {};
}

Result<void> set_encryption(std::span<const EncryptWords> levels, config::DiskConfig& disk) {
  for (size_t level = 0; level < levels.size(); ++level) {
    const EncryptWords& words = levels[level];
    std::optional<config::EncryptionConfig> encryption;
    if (!words.secret_id.empty()) encryption = to_encryption(words);
    if (!encryption && !words.format.empty())
      return fail(ErrorKind::kUsage, "disk {}: encrypt.format goes with encrypt.key-secret",
                  disk.target);
    if (level == 0)
      disk.encryption = std::move(encryption);
    else
      disk.backing_encryption.push_back(std::move(encryption));
  }
  return {};
}

}  // namespace hull::cli
