#include "blockcore/open.h"

#include <array>
#include <cstring>

#include "base/log.h"
#include "blockcore/image_lock.h"
#include "blockcore/local_file.h"
#include "blockcore/policy_disk.h"
#include "blockcore/raw_disk.h"

namespace hull::blockcore {

namespace {

// The files of a chain, top first, before the formats look at them.
struct Level {
  std::unique_ptr<LocalFile> file;
  DiskFormat format;
};

Result<void> lock_level(const LocalFile& file, const LockRequest& request) {
  const LockOutcome outcome = TRY(lock_image(file.fd(), file.path(), request));
  if (outcome == LockOutcome::kUnsupported && request.write)
    LOG_WARN("{}: its file system has no locks: nothing keeps other programs from changing it",
             file.path());
  return {};
}

Result<Level> open_level(IoEngine& engine, const OpenOptions& options, const BackingLevel& level,
                         bool writable) {
  auto file =
      TRY(LocalFile::open(engine, level.path, {.cache = options.cache, .read_only = !writable}));
  if (options.lock) {
    const LockRequest request{.write = writable,
                              .resize = writable && level.format != DiskFormat::kRaw,
                              .share_write = options.shareable};
    if (auto locked = lock_level(*file, request); !locked)
      return std::unexpected(std::move(locked).error());
  }
  return Level{.file = std::move(file), .format = level.format};
}

Result<void> add_level(std::vector<Level>& chain, Level level) {
  for (const Level& above : chain)
    if (above.file->identity() == level.file->identity())
      return fail(ErrorKind::kInvalidConfig, "{}: the chain of backing files leads back to it",
                  level.file->path());
  if (chain.size() == kMaxChainLength)
    return fail(ErrorKind::kInvalidConfig, "{}: the chain of backing files has more than {} levels",
                chain.front().file->path(), kMaxChainLength);
  chain.push_back(std::move(level));
  return {};
}

// The contents do not decide; but somebody may have left out the format by mistake.
Task<void> warn_about_qcow2_magic(File& file) {
  std::array<std::byte, 4> start{};
  if (file.size_bytes() < start.size()) co_return;
  const auto read = co_await read_exactly(file, 0, start);
  if (read && std::memcmp(start.data(), "QFI\xfb", start.size()) == 0)
    LOG_WARN("{}: is used as a raw disk but begins like a qcow2 image", file.path());
}

Task<Result<std::unique_ptr<Disk>>> open_image(Level level) {
  if (level.format != DiskFormat::kRaw)
    co_return fail(ErrorKind::kUnsupported, "{}: format qcow2 is not supported yet",
                   level.file->path());
  co_await warn_about_qcow2_magic(*level.file);
  co_return std::make_unique<RawDisk>(std::move(level.file));
}

std::unique_ptr<Disk> apply_policy(std::unique_ptr<Disk> disk, const OpenOptions& options) {
  const bool flush_after_write =
      options.cache == CacheMode::kWritethrough || options.cache == CacheMode::kDirectsync;
  DiskPolicy policy{.flush_after_write = flush_after_write,
                    .unmap = options.unmap,
                    .detect_zeroes = options.detect_zeroes};
  return std::make_unique<PolicyDisk>(std::move(disk), policy);
}

}  // namespace

Task<Result<std::unique_ptr<Disk>>> open_disk(IoEngine& engine, OpenOptions options) {
  if (options.transient && !options.read_only)
    co_return fail(ErrorKind::kUnsupported, "{}: transient is not supported yet", options.path);
  std::vector<Level> chain;
  const BackingLevel top{.path = options.path, .format = options.format};
  CO_TRY(Level level, open_level(engine, options, top, !options.read_only));
  CO_TRY_VOID(add_level(chain, std::move(level)));
  CO_TRY(std::unique_ptr<Disk> disk, co_await open_image(std::move(chain.back())));
  co_return apply_policy(std::move(disk), options);
}

}  // namespace hull::blockcore
