#include "blockcore/image/single_image.h"

#include "blockcore/backing_name.h"
#include "blockcore/file/local_file.h"
#include "blockcore/image/info.h"

namespace hull::blockcore {
namespace {

LocalFileOptions options_of_file(const SingleImageOptions& options) {
  LocalFileOptions how{.cache = options.cache, .read_only = options.read_only};
  if (options.lock) how.lock = {.write = !options.read_only, .resize = !options.read_only};
  return how;
}

Result<std::unique_ptr<LocalFile>> open_data_file(IoEngine& engine, const Qcow2Disk& image,
                                                  FileIdentity image_identity,
                                                  const SingleImageOptions& options) {
  const std::string path =
      TRY(resolve_data_file_name(options.path, image.header().data_file_name()));
  LocalFileOptions how = options_of_file(options);
  how.admit = [&](const FileIdentity& identity) -> Result<void> {
    if (identity != image_identity) return {};
    return fail(ErrorKind::kInvalidConfig, "is its own data file");
  };
  return LocalFile::open(engine, path, how).with_context(options.path + ": data file");
}

}  // namespace

Task<Result<std::unique_ptr<Qcow2Disk>>> open_single_qcow2(IoEngine& engine,
                                                           SingleImageOptions options) {
  CO_TRY(std::unique_ptr<LocalFile> file,
         LocalFile::open(engine, options.path, options_of_file(options)));
  const FileIdentity identity = file->identity();
  DiskFormat format = options.format.value_or(DiskFormat::kRaw);
  if (!options.format) {
    CO_TRY(format, co_await probe_format(*file));
  }
  if (format != DiskFormat::kQcow2)
    co_return fail(ErrorKind::kUnsupported, "{}: is a raw image, not qcow2", options.path);
  Qcow2Options how{.read_only = options.read_only,
                   .secret = options.key.secret,
                   .encryption = options.key.encryption,
                   .metadata_only = true,
                   .allow_data_file = true};
  CO_TRY(std::unique_ptr<Qcow2Disk> disk,
         co_await Qcow2Disk::open(std::move(file), std::move(how)));
  if (disk->header().has_data_file()) {
    CO_TRY(std::unique_ptr<LocalFile> data_file, open_data_file(engine, *disk, identity, options));
    disk->set_data_file(std::move(data_file));
  }
  co_return disk;
}

}  // namespace hull::blockcore
