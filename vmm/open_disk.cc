#include "vmm/open_disk.h"

#include "blockcore/open.h"

namespace hull::vmm {

namespace {

Result<blockcore::ImageKey> to_key(const std::optional<config::EncryptionConfig>& encryption,
                                   const DiskSecrets& secrets) {
  if (!encryption) return blockcore::ImageKey{};
  const auto found = secrets.find(encryption->secret_id);
  if (found == secrets.end())
    return fail(ErrorKind::kInvalidConfig, "there is no secret '{}'", encryption->secret_id);
  const bool luks = encryption->method == config::EncryptionMethod::kLuks;
  return blockcore::ImageKey{
      found->second, luks ? blockcore::DiskEncryption::kLuks : blockcore::DiskEncryption::kAes};
}

Result<void> set_images(const config::DiskConfig& disk, const DiskSecrets& secrets,
                        blockcore::OpenOptions& options) {
  options.path = disk.file;
  options.format = disk.format;
  options.keys.push_back(TRY(to_key(disk.encryption, secrets)));
  for (const auto& encryption : disk.backing_encryption)
    options.keys.push_back(TRY(to_key(encryption, secrets)));
  if (!disk.backing) return {};
  options.backing.emplace();
  for (const config::BackingLevel& level : *disk.backing)
    options.backing->push_back({.path = level.file,
                                .format = level.format,
                                .key = TRY(to_key(level.encryption, secrets))});
  return {};
}

}  // namespace

Result<std::unique_ptr<blockcore::Disk>> open_domain_disk(blockcore::IoEngine& engine,
                                                          const config::DiskConfig& disk,
                                                          bool ephemeral,
                                                          const DiskSecrets& secrets) {
  blockcore::OpenOptions options;
  TRY(set_images(disk, secrets, options).with_context(fmt::format("disk {}", disk.target)));
  options.cache = disk.cache;
  options.l2_cache_bytes = disk.metadata_cache_bytes;
  options.read_only = disk.read_only;
  options.shareable = disk.shareable;
  options.transient = (disk.transient || ephemeral) && !disk.read_only;
  options.unmap = disk.discard == config::DiscardMode::kUnmap;
  options.detect_zeroes = disk.detect_zeroes;
  return engine.run_until_done(blockcore::open_disk(engine, std::move(options)))
      .with_context(fmt::format("disk {}", disk.target));
}

}  // namespace hull::vmm
