#include "blockcore/image/create.h"

#include <unistd.h>

#include <cerrno>

#include "base/checked.h"
#include "base/unique_fd.h"
#include "blockcore/backing_name.h"
#include "blockcore/file/local_file.h"

namespace hull::blockcore {
namespace {

Result<DiskFormat> backing_format_of(const CreateImageOptions& options) {
  if (options.qcow2.backing_format == "raw") return DiskFormat::kRaw;
  if (options.qcow2.backing_format == "qcow2") return DiskFormat::kQcow2;
  return fail(ErrorKind::kInvalidConfig, "{}: backing file format '{}' is not raw or qcow2",
              options.path, options.qcow2.backing_format);
}

Task<Result<uint64_t>> find_size(IoEngine& engine, const CreateImageOptions& options) {
  std::optional<uint64_t> size = options.size_bytes;
  if (!options.qcow2.backing_name.empty() && options.open_backing) {
    OpenOptions backing{.path = {}, .read_only = true, .metadata_only = true};
    CO_TRY(backing.path, resolve_backing_name(options.path, options.qcow2.backing_name));
    CO_TRY(backing.format, backing_format_of(options));
    CO_TRY(const std::unique_ptr<Disk> disk, co_await open_disk(engine, std::move(backing)));
    if (!size) size = disk->size_bytes();
    CO_TRY_VOID(co_await disk->close());
  }
  if (!size)
    co_return fail(ErrorKind::kInvalidConfig, "{}: Image creation needs a size parameter",
                   options.path);
  if (*size > qcow2::kMaxGuestBytes)
    co_return fail(ErrorKind::kOutOfRange, "{}: the image size is too large", options.path);
  co_return align_up(*size, uint64_t{512});
}

constexpr LockRequest kTargetLock{.write = true, .resize = true};

struct Target {
  UniqueFd fd;
  bool is_new;
};

Result<Target> open_target(const std::string& path) {
  auto created = open_file(path, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (created) return Target{*std::move(created), true};
  if (created.error().error_number() != EEXIST) return std::unexpected(std::move(created).error());
  auto existing = open_file(path, O_RDWR);
  if (!existing) return std::unexpected(std::move(existing).error());
  return Target{*std::move(existing), false};
}

Task<Result<void>> fill_raw(File& file, uint64_t size_bytes, Preallocation preallocation) {
  if (file.is_block_device()) {
    if (size_bytes > file.size_bytes())
      co_return fail(ErrorKind::kOutOfRange, "{}: the device has only {} bytes", file.path(),
                     file.size_bytes());
    co_return {};
  }
  CO_TRY_VOID(file.cut_to(0));
  CO_TRY_VOID(file.extend_to(size_bytes));
  if (size_bytes == 0) co_return {};
  if (preallocation == Preallocation::kFalloc) co_return co_await file.allocate(0, size_bytes);
  if (preallocation == Preallocation::kFull)
    co_return co_await file.write_zeroes(0, size_bytes, false);
  co_return {};
}

// New or overwritten, as the image itself. It stays when the creation fails.
Result<std::unique_ptr<LocalFile>> open_data_file(IoEngine& engine,
                                                  const CreateImageOptions& options,
                                                  const LocalFile& image) {
  const std::string path = TRY(resolve_data_file_name(options.path, options.qcow2.data_file_name));
  Target target = TRY(open_target(path));
  LocalFileOptions how{.lock = kTargetLock};
  how.admit = [&](const FileIdentity& identity) -> Result<void> {
    if (identity != image.identity()) return {};
    return fail(ErrorKind::kInvalidConfig, "{}: cannot be its own data file", path);
  };
  return LocalFile::adopt(engine, std::move(target.fd), path, how);
}

Task<Result<void>> fill(IoEngine& engine, UniqueFd fd, CreateImageOptions options,
                        uint64_t size_bytes) {
  CO_TRY(const std::unique_ptr<LocalFile> file,
         LocalFile::adopt(engine, std::move(fd), options.path, {.lock = kTargetLock}));
  if (options.format == DiskFormat::kRaw)
    co_return co_await fill_raw(*file, size_bytes, options.qcow2.preallocation);
  options.qcow2.size_bytes = size_bytes;
  std::unique_ptr<LocalFile> data_file;
  if (!options.qcow2.data_file_name.empty()) {
    CO_TRY(data_file, open_data_file(engine, options, *file));
  }
  co_return (co_await create_qcow2(*file, options.qcow2, data_file.get()))
      .with_context(options.path);
}

}  // namespace

Task<Result<uint64_t>> create_image(IoEngine& engine, CreateImageOptions options) {
  CO_TRY(const uint64_t size_bytes, co_await find_size(engine, options));
  CO_TRY(Target target, open_target(options.path));
  const std::string path = options.path;
  auto filled = co_await fill(engine, std::move(target.fd), std::move(options), size_bytes);
  if (!filled) {
    if (target.is_new) ::unlink(path.c_str());
    co_return std::unexpected(std::move(filled).error());
  }
  co_return size_bytes;
}

}  // namespace hull::blockcore
