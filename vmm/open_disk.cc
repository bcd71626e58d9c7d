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

}  // namespace

Result<std::unique_ptr<blockcore::Disk>> open_domain_disk(blockcore::IoEngine& engine,
                                                          const config::DiskConfig& disk,
                                                          bool ephemeral) {
  blockcore::OpenOptions options;
  options.path = disk.file;
  options.format = to_format(disk.format);
  if (disk.backing) {
    options.backing.emplace();
    for (const config::BackingLevel& level : *disk.backing)
      options.backing->push_back({level.file, to_format(level.format)});
  }
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
