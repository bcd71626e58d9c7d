#include "blockcore/image/create.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "base/checked.h"
#include "base/unique_fd.h"
#include "blockcore/backing_name.h"
#include "blockcore/file/local_file.h"
#include "blockcore/format_table.h"

namespace hull::blockcore {
namespace {

Result<DiskFormat> backing_format_of(const CreateImageOptions& options) {
  if (const auto format = parse_format(options.qcow2.backing_format)) return *format;
  return fail(ErrorKind::kInvalidConfig, "{}: backing file format '{}' is not {}", options.path,
              options.qcow2.backing_format, openable_formats(" or "));
}

Task<Result<uint64_t>> find_size(IoEngine& engine, const CreateImageOptions& options) {
  std::optional<uint64_t> size = options.size_bytes;
  if (!options.qcow2.backing_name.empty() && options.open_backing) {
    OpenOptions backing{.path = {}, .read_only = true, .lock = false, .metadata_only = true};
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
  auto created = open_file(path, O_RDWR | O_CREAT | O_EXCL, 0666);
  if (created) return Target{*std::move(created), true};
  if (created.error().error_number() != EEXIST) return std::unexpected(std::move(created).error());
  auto existing = open_file(path, O_RDWR);
  if (!existing) return std::unexpected(std::move(existing).error());
  return Target{*std::move(existing), false};
}

// The backing chain joins what the image must keep off.
Task<Result<void>> add_backing_chain(IoEngine& engine, CreateImageOptions& options) {
  const std::string& name = options.qcow2.backing_name;
  if (name.empty()) co_return {};
  const auto path = resolve_backing_name(options.path, name);
  if (!path) co_return {};  // said by whoever opens it
  const std::optional<DiskFormat> format =
      options.qcow2.backing_format == "raw" ? std::optional(DiskFormat::kRaw) : std::nullopt;
  std::vector<ChainFile> chain = co_await chain_files(engine, *path, format);
  if (chain.size() >= kMaxChainLength)
    co_return fail(ErrorKind::kInvalidConfig,
                   "{}: a chain of backing files with more than {} levels could not be opened",
                   options.path, kMaxChainLength);
  options.keep_off.insert(options.keep_off.end(), chain.begin(), chain.end());
  co_return check_apart(options.path, options.keep_off);
}

// Before anything is in the file; most file systems do not know it.
void forbid_copy_on_write(int fd) {
  int flags = 0;
  if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return;
  flags |= FS_NOCOW_FL;
  (void)::ioctl(fd, FS_IOC_SETFLAGS, &flags);
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
    if (identity != image.identity()) return check_apart(path, identity, options.keep_off);
    return fail(ErrorKind::kInvalidConfig, "{}: cannot be its own data file", path);
  };
  return LocalFile::adopt(engine, std::move(target.fd), path, how);
}

Task<Result<void>> fill(IoEngine& engine, UniqueFd fd, CreateImageOptions options,
                        uint64_t size_bytes) {
  CO_TRY(const std::unique_ptr<LocalFile> file,
         LocalFile::adopt(engine, std::move(fd), options.path,
                          {.lock = kTargetLock, .admit = [&options](const FileIdentity& identity) {
                             return check_apart(options.path, identity, options.keep_off);
                           }}));
  if (options.format == DiskFormat::kRaw) {
    CO_TRY_VOID(co_await fill_raw(*file, size_bytes, options.qcow2.preallocation));
    if (options.durable) co_return co_await file->flush();
    co_return {};
  }
  options.qcow2.size_bytes = size_bytes;
  std::unique_ptr<LocalFile> data_file;
  if (!options.qcow2.data_file_name.empty()) {
    CO_TRY(data_file, open_data_file(engine, options, *file));
  }
  CO_TRY_VOID(
      (co_await create_qcow2(*file, options.qcow2, data_file.get())).with_context(options.path));
  if (!options.durable) co_return {};
  if (data_file != nullptr) CO_TRY_VOID(co_await data_file->flush());
  co_return co_await file->flush();
}

}  // namespace

Task<Result<uint64_t>> create_image(IoEngine& engine, CreateImageOptions options) {
  CO_TRY_VOID(co_await add_backing_chain(engine, options));
  CO_TRY(const uint64_t size_bytes, co_await find_size(engine, options));
  CO_TRY(Target target, open_target(options.path));
  if (options.nocow && target.is_new) forbid_copy_on_write(target.fd.get());
  const std::string path = options.path;
  auto filled = co_await fill(engine, std::move(target.fd), std::move(options), size_bytes);
  if (!filled) {
    if (target.is_new) ::unlink(path.c_str());
    co_return std::unexpected(std::move(filled).error());
  }
  co_return size_bytes;
}

}  // namespace hull::blockcore
