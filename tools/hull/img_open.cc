#include "tools/hull/img_open.h"

#include "base/log.h"
#include "blockcore/file/local_file.h"
#include "blockcore/format_table.h"
#include "blockcore/image/info.h"
#include "blockcore/nbd/url.h"

namespace hull::cli {
namespace {

using namespace blockcore;

Result<DiskFormat> look_at_format(IoEngine& engine, const std::string& path, bool writable,
                                  bool lock) {
  if (nbd::is_url(path)) return DiskFormat::kRaw;
  LocalFileOptions how{.read_only = true};
  if (lock) how.lock.emplace();
  const auto file = TRY(LocalFile::open(engine, path, how));
  const DiskFormat format = TRY(engine.run_until_done(probe_format(*file)));
  if (writable && !driver_of(format).has.metadata)
    LOG_WARN("{0}: no format was given and it looks like {1}: say -f {1} if that is so", path,
             driver_of(format).name);
  return format;
}

}  // namespace

Error with_force_share(const Error& error) {
  if (error.kind() != ErrorKind::kBusy) return error;
  return {error.kind(), error.message() + "; -U looks at it all the same", error.error_number()};
}

Result<ImgDisk> open_img(IoEngine& engine, const ImgCommon& common, const ImgName& name,
                         const ImgOpen& how) {
  const bool writable = how.writable && !name.read_only.value_or(false);
  ImgDisk image;
  image.path = name.path;
  bool lock = name.lock && (writable || !(common.force_share || name.force_share));
  const bool shares_raw = how.shares_raw && !writable;
  image.format = name.format
                     ? *name.format
                     : TRY(look_at_format(engine, name.path, writable, lock && !shares_raw));
  lock = lock && !(shares_raw && !driver_of(image.format).has.metadata);
  OpenOptions options{.path = name.path,
                      .format = image.format,
                      .cache = name.cache.value_or(how.cache),
                      .read_only = !writable,
                      .unmap = writable,
                      .lock = lock,
                      .snapshot = how.snapshot,
                      .workers = how.workers};
  if (how.snapshot && !driver_of(image.format).has.snapshots)
    return fail(ErrorKind::kUnsupported,
                "Failed to load snapshot: Block format '{}' used by device '' does not support "
                "temporarily loading internal snapshots",
                driver_of(image.format).name);
  if (!how.backing) options.backing.emplace();
  options.keys = TRY(common.secrets.keys(name.encryption));
  if (how.key) options.keys = {*how.key};
  Result<OpenedImage> opened = engine.run_until_done(open_image(engine, std::move(options)));
  if (!opened) return std::unexpected(writable ? opened.error() : with_force_share(opened.error()));
  image.disk = std::move(opened->disk);
  image.qcow2 = opened->qcow2;
  return image;
}

}  // namespace hull::cli
