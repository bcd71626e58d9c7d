#include "blockcore/open.h"

#include <algorithm>
#include <array>

#include "base/log.h"
#include "blockcore/backing_name.h"
#include "blockcore/crypto/key_derivation.h"
#include "blockcore/file/ephemeral_file.h"
#include "blockcore/file/local_file.h"
#include "blockcore/format_table.h"
#include "blockcore/nbd/nbd_disk.h"
#include "blockcore/nbd/url.h"
#include "blockcore/policy_disk.h"
#include "blockcore/qcow2/edit/create.h"
#include "blockcore/qcow2/format/encryption.h"
#include "blockcore/qcow2/qcow2_disk.h"
#include "blockcore/raw_disk.h"

namespace hull::blockcore {

namespace {

// A chain while it is opened from the top down.
struct Chain {
  std::vector<FileIdentity> files;  // with data files
  size_t levels = 0;
  std::vector<std::unique_ptr<Qcow2Disk>> overlays;  // top first
  std::unique_ptr<Disk> bottom;                      // a raw image, if the chain ends in one
};

constexpr size_t kTransientKeyBytes = 32;

// Before its lock is waited for, which would be that of another level.
Result<void> remember(Chain& chain, const std::string& path, const FileIdentity& identity) {
  for (const FileIdentity& above : chain.files)
    if (above == identity)
      return fail(ErrorKind::kInvalidConfig, "{}: the chain of backing files leads back to it",
                  path);
  chain.files.push_back(identity);
  return {};
}

Result<std::unique_ptr<LocalFile>> open_file_of(IoEngine& engine, const OpenOptions& options,
                                                const std::string& path, const LockRequest& lock,
                                                Chain& chain) {
  LocalFileOptions how{.cache = options.cache, .read_only = !lock.write};
  if (options.lock) how.lock = lock;
  how.admit = [&](const FileIdentity& identity) { return remember(chain, path, identity); };
  return LocalFile::open(engine, path, how);
}

Result<std::unique_ptr<LocalFile>> open_level(IoEngine& engine, const OpenOptions& options,
                                              const BackingLevel& level, bool writable,
                                              Chain& chain) {
  if (chain.levels == kMaxChainLength)
    return fail(ErrorKind::kInvalidConfig, "{}: the chain of backing files has more than {} levels",
                level.path, kMaxChainLength);
  ++chain.levels;
  const LockRequest lock{.write = writable,
                         .resize = writable && level.format != DiskFormat::kRaw,
                         .share_write = options.shareable};
  return open_file_of(engine, options, level.path, lock, chain);
}

// The contents do not decide; but somebody may have left out the format by mistake.
Task<void> warn_about_contents(File& file) {
  std::array<char, 128> start{};
  const iovec buffer{start.data(), start.size()};
  if (!co_await file.read_or_zero(0, {&buffer, 1})) co_return;
  const FormatDriver* const driver = recognise_format({start.data(), start.size()}, {});
  if (driver != nullptr && driver->format)
    LOG_WARN("{}: is used as a raw disk but begins like a {} image: format={} says that it is one",
             file.path(), driver->name, driver->name);
}

Result<DiskFormat> backing_format_of(const Qcow2Disk& image) {
  const auto& format = image.header().backing_format;
  if (!format)
    return fail(ErrorKind::kInvalidConfig,
                "{}: does not say which format its backing file '{}' has; hull does not guess: "
                "name it in <backingStore>, or in the image with qemu-img rebase -u -F",
                image.file().path(), image.header().backing_name);
  if (const auto known = parse_format(*format)) return *known;
  return fail(ErrorKind::kUnsupported, "{}: its backing file has format '{}', not {}",
              image.file().path(), *format, openable_formats(" or "));
}

// What lies below `image`, the lowest of `depth` levels; nullopt: nothing.
Result<std::optional<BackingLevel>> level_below(const OpenOptions& options, const Qcow2Disk& image,
                                                size_t depth) {
  if (options.backing) {
    if (depth > options.backing->size()) return std::nullopt;
    return (*options.backing)[depth - 1];
  }
  const std::string& name = image.header().backing_name;
  if (name.empty()) return std::nullopt;
  const DiskFormat format = TRY(backing_format_of(image));
  std::string path = TRY(resolve_backing_name(image.file().path(), name));
  return BackingLevel{
      .path = std::move(path), .format = format, .key = key_of_level(options.keys, depth)};
}

Result<void> check_bottom(const OpenOptions& options, const std::string& path, size_t depth) {
  if (options.backing && options.backing->size() >= depth)
    return fail(ErrorKind::kInvalidConfig, "{}: a raw image has no backing file", path);
  return {};
}

// The file that holds the guest data of `image`, which the user named or which is in the chain of
// one that he named.
Result<void> add_data_file(IoEngine& engine, const OpenOptions& options, bool writable,
                           Qcow2Disk& image, Chain& chain) {
  const std::string path =
      TRY(resolve_data_file_name(image.file().path(), image.header().data_file_name()));
  const LockRequest lock{.write = writable, .resize = writable};
  auto file = TRY(open_file_of(engine, options, path, lock, chain)
                      .with_context(image.file().path() + ": data file"));
  image.set_data_file(std::move(file));
  return {};
}

// The user has written the URL: names in headers are plain paths (backing_name.h).
Result<std::unique_ptr<Disk>> open_export(IoEngine& engine, const OpenOptions& options,
                                          const BackingLevel& level, bool writable) {
  if (level.format != DiskFormat::kRaw)
    return fail(ErrorKind::kUnsupported,
                "{}: an export is used as it is (format raw); a server that knows the image's "
                "format, as hull nbd -f qcow2 does, makes it one",
                level.path);
  return nbd::NbdDisk::open(
      engine, level.path,
      {.read_only = !writable, .ignore_flushes = options.cache == CacheMode::kUnsafe});
}

Task<Result<void>> open_chain(IoEngine& engine, const OpenOptions& options, bool top_writable,
                              Chain& chain) {
  std::optional<BackingLevel> level = BackingLevel{
      .path = options.path, .format = options.format, .key = key_of_level(options.keys, 0)};
  for (bool writable = top_writable; level; writable = false) {
    if (nbd::is_url(level->path)) {
      CO_TRY_VOID(check_bottom(options, level->path, ++chain.levels));
      CO_TRY(chain.bottom, open_export(engine, options, *level, writable));
      co_return {};
    }
    CO_TRY(std::unique_ptr<LocalFile> file, open_level(engine, options, *level, writable, chain));
    const size_t depth = chain.levels;
    if (level->format == DiskFormat::kRaw) {
      CO_TRY_VOID(check_bottom(options, level->path, depth));
      co_await warn_about_contents(*file);
      chain.bottom = std::make_unique<RawDisk>(std::move(file));
      co_return {};
    }
    Qcow2Options how{.read_only = !writable,
                     .l2_cache_bytes = options.l2_cache_bytes,
                     .secret = level->key.secret,
                     .encryption = level->key.encryption,
                     .metadata_only = options.metadata_only,
                     .allow_data_file = true,
                     .workers = options.workers};
    if (depth == 1) how.snapshot = options.snapshot;
    CO_TRY(std::unique_ptr<Qcow2Disk> image,
           co_await Qcow2Disk::open(std::move(file), std::move(how)));
    if (image->header().has_data_file())
      CO_TRY_VOID(add_data_file(engine, options, writable, *image, chain));
    CO_TRY(level, level_below(options, *image, depth));
    chain.overlays.push_back(std::move(image));
  }
  co_return {};
}

// Stacks the overlays from the lowest up.
std::unique_ptr<Disk> assemble(Chain chain) {
  std::unique_ptr<Disk> disk = std::move(chain.bottom);
  while (!chain.overlays.empty()) {
    std::unique_ptr<Qcow2Disk> overlay = std::move(chain.overlays.back());
    chain.overlays.pop_back();
    if (disk != nullptr) overlay->set_backing(std::move(disk));
    disk = std::move(overlay);
  }
  return disk;
}

bool is_encrypted(const Chain& chain) {
  return std::ranges::any_of(chain.overlays, [](const auto& image) {
    return image->header().encryption_method != qcow2::kEncryptionNone;
  });
}

Result<std::shared_ptr<const Secret>> make_random_secret() {
  Secret secret = TRY(Secret::zeros(kTransientKeyBytes));
  TRY(crypto::fill_random(secret.bytes()));
  return std::make_shared<const Secret>(std::move(secret));
}

bool is_direct(CacheMode cache) {
  return cache == CacheMode::kNone || cache == CacheMode::kDirectsync;
}

// An overlay that nobody can open later: nothing in it has to survive a crash of the host, so its
// flushes do nothing. With extended L2 entries a guest's 4 KiB write copies nothing from below, as
// with clusters of 4 KiB, which are as fast; but the tables have an eighth of the size (256 KiB for
// 1 GiB), so that the cache of 8 MiB holds those of 32 GiB, and disks of any size fit.
//
// `encrypted`: what the guest writes may not stand on the host's disk in the clear.
Task<Result<std::unique_ptr<Disk>>> add_transient_overlay(IoEngine& engine,
                                                          const OpenOptions& options,
                                                          std::unique_ptr<Disk> below,
                                                          bool encrypted) {
  CO_TRY(UniqueFd fd, create_ephemeral_file_near(options.path));
  const CacheMode cache = is_direct(options.cache) ? CacheMode::kNone : CacheMode::kUnsafe;
  CO_TRY(std::unique_ptr<LocalFile> file,
         LocalFile::adopt(engine, std::move(fd), options.path + " (transient)", {.cache = cache}));
  Qcow2CreateOptions format{.size_bytes = below->size_bytes(), .extended_l2 = true};
  Qcow2Options how{.l2_cache_bytes = options.l2_cache_bytes};
  if (encrypted) {
    CO_TRY(how.secret, make_random_secret());
    format.encryption =
        Qcow2Encryption{.luks = {.iteration_milliseconds = 1}, .secret = how.secret};
  }
  CO_TRY_VOID(co_await create_qcow2(*file, std::move(format)));
  CO_TRY(std::unique_ptr<Qcow2Disk> overlay,
         co_await Qcow2Disk::open(std::move(file), std::move(how)));
  overlay->set_backing(std::move(below));
  co_return overlay;
}

std::unique_ptr<Disk> apply_policy(std::unique_ptr<Disk> disk, const OpenOptions& options) {
  const bool durable_writes =
      options.cache == CacheMode::kWritethrough || options.cache == CacheMode::kDirectsync;
  const DiskPolicy policy{.flush_after_write = durable_writes && !options.transient,
                          .unmap = options.unmap,
                          .detect_zeroes = options.detect_zeroes};
  return std::make_unique<PolicyDisk>(std::move(disk), policy);
}

}  // namespace

Task<Result<OpenedImage>> open_image(IoEngine& engine, OpenOptions options) {
  const bool transient = options.transient && !options.read_only;
  const bool top_writable = !options.read_only && !transient;
  if (options.shareable && top_writable && options.format != DiskFormat::kRaw)
    co_return fail(ErrorKind::kInvalidConfig,
                   "{}: only a raw image can be written by several programs", options.path);
  Chain chain;
  CO_TRY_VOID(co_await open_chain(engine, options, top_writable, chain));
  OpenedImage image;
  if (!transient && !chain.overlays.empty()) image.qcow2 = chain.overlays.front().get();
  const bool encrypted = is_encrypted(chain);
  image.disk = assemble(std::move(chain));
  if (transient) {
    CO_TRY(image.disk,
           co_await add_transient_overlay(engine, options, std::move(image.disk), encrypted));
  }
  image.disk = apply_policy(std::move(image.disk), options);
  co_return image;
}

Task<Result<std::unique_ptr<Disk>>> open_disk(IoEngine& engine, OpenOptions options) {
  CO_TRY(OpenedImage image, co_await open_image(engine, std::move(options)));
  co_return std::move(image.disk);
}

}  // namespace hull::blockcore
