#include "blockcore/image/single_image.h"

#include "blockcore/image/info.h"
#include "blockcore/image_lock.h"
#include "blockcore/local_file.h"

namespace hull::blockcore {

Task<Result<std::unique_ptr<Qcow2Disk>>> open_single_qcow2(IoEngine& engine,
                                                           SingleImageOptions options) {
  CO_TRY(std::unique_ptr<LocalFile> file,
         LocalFile::open(engine, options.path,
                         {.cache = options.cache, .read_only = options.read_only}));
  if (options.lock) {
    const LockRequest request{.write = !options.read_only, .resize = !options.read_only};
    CO_TRY_VOID(lock_image(file->fd(), options.path, request));
  }
  DiskFormat format = options.format.value_or(DiskFormat::kRaw);
  if (!options.format) {
    CO_TRY(format, co_await probe_format(*file));
  }
  if (format != DiskFormat::kQcow2)
    co_return fail(ErrorKind::kUnsupported, "{}: is a raw image, not qcow2", options.path);
  Qcow2Options how{.read_only = options.read_only,
                   .secret = options.key.secret,
                   .encryption = options.key.encryption,
                   .metadata_only = true};
  co_return co_await Qcow2Disk::open(std::move(file), std::move(how));
}

}  // namespace hull::blockcore
