#include "vmm/open_disk.h"

#include "blockcore/open.h"

namespace hull::vmm {

namespace {

blockcore::DiskFormat to_format(config::DiskFormat format) {
  return format == config::DiskFormat::kQcow2 ? blockcore::DiskFormat::kQcow2
                                              : blockcore::DiskFormat::kRaw;
}

blockcore::CacheMode to_cache_mode(config::CacheMode mode) {
  switch (mode) {
    case config::CacheMode::kNone: return blockcore::CacheMode::kNone;
    case config::CacheMode::kWritethrough: return blockcore::CacheMode::kWritethrough;
    case config::CacheMode::kDirectsync: return blockcore::CacheMode::kDirectsync;
    case config::CacheMode::kUnsafe: return blockcore::CacheMode::kUnsafe;
    case config::CacheMode::kDefault:
    case config::CacheMode::kWriteback: break;
  }
  return blockcore::CacheMode::kWriteback;
}

blockcore::DetectZeroes to_detect_zeroes(config::DetectZeroes mode) {
  switch (mode) {
    case config::DetectZeroes::kOn: return blockcore::DetectZeroes::kOn;
    case config::DetectZeroes::kUnmap: return blockcore::DetectZeroes::kUnmap;
    case config::DetectZeroes::kOff: break;
  }
  return blockcore::DetectZeroes::kOff;
}

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
  options.format = to_format(disk.format);
  options.keys.push_back(TRY(to_key(disk.encryption, secrets)));
  for (const auto& encryption : disk.backing_encryption)
    options.keys.push_back(TRY(to_key(encryption, secrets)));
  if (!disk.backing) return {};
  options.backing.emplace();
  for (const config::BackingLevel& level : *disk.backing)
    options.backing->push_back({.path = level.file,
                                .format = to_format(level.format),
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
  options.cache = to_cache_mode(disk.cache);
  options.l2_cache_bytes = disk.metadata_cache_bytes;
  options.read_only = disk.read_only;
  options.shareable = disk.shareable;
  options.transient = (disk.transient || ephemeral) && !disk.read_only;
  options.unmap = disk.discard == config::DiscardMode::kUnmap;
  options.detect_zeroes = to_detect_zeroes(disk.detect_zeroes);
  return engine.run_until_done(blockcore::open_disk(engine, std::move(options)))
      .with_context(fmt::format("disk {}", disk.target));
}

}  // namespace hull::vmm
