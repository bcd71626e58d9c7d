#include "blockcore/image/resize.h"

#include "base/checked.h"
#include "blockcore/file/local_file.h"
#include "blockcore/image/backing_chain.h"
#include "blockcore/image/info.h"
#include "blockcore/image/single_image.h"
#include "blockcore/qcow2/edit/resize.h"

namespace hull::blockcore {
namespace {

Task<Result<void>> extend_raw(File& file, uint64_t old_size, uint64_t size,
                              Preallocation preallocation) {
  switch (preallocation) {
    case Preallocation::kOff: break;
    case Preallocation::kMetadata:
      co_return fail(ErrorKind::kUnsupported, "{}: Unsupported preallocation mode 'metadata'",
                     file.path());
    case Preallocation::kFalloc: co_return co_await file.allocate(old_size, size - old_size);
    case Preallocation::kFull:
      // Inside the file, where zeros take their space.
      CO_TRY_VOID(file.extend_to(size));
      co_return co_await file.write_zeroes(old_size, size - old_size, false);
  }
  co_return file.extend_to(size);
}

Task<Result<uint64_t>> resize_raw(LocalFile& file, const ResizeImageOptions& options) {
  const uint64_t old_size = file.size_bytes();
  CO_TRY(const uint64_t size, options.new_size(align_up(old_size, uint64_t{512})));
  if (file.is_block_device())
    co_return fail(ErrorKind::kUnsupported, "{}: a block device keeps its size", file.path());
  if (size > old_size) {
    CO_TRY_VOID(co_await extend_raw(file, old_size, size, options.preallocation));
  } else {
    CO_TRY_VOID(file.cut_to(size));
  }
  CO_TRY_VOID(co_await file.flush());
  co_return size;
}

Task<Result<uint64_t>> resize_qcow2(IoEngine& engine, const ResizeImageOptions& options) {
  SingleImageOptions single{.path = options.path,
                            .format = DiskFormat::kQcow2,
                            .cache = options.cache,
                            .key = key_of_level(options.keys, 0)};
  CO_TRY(const std::unique_ptr<Qcow2Disk> disk,
         co_await open_single_qcow2(engine, std::move(single)));
  // What looks like an image may be a raw disk, on which its guest has written the name of a file.
  if (disk->header().has_data_file() && !options.format)
    co_return fail(ErrorKind::kInvalidConfig,
                   "{}: looks like a qcow2 image with an external data file, which would change "
                   "with it: say -f qcow2 if it is one",
                   options.path);
  CO_TRY(const uint64_t size, options.new_size(disk->size_bytes()));
  if (size % 512 != 0)
    co_return fail(ErrorKind::kInvalidConfig, "The new size must be a multiple of 512");
  if (size > disk->size_bytes()) {
    CO_TRY(std::unique_ptr<Disk> backing,
           co_await open_backing(engine, *disk, options.cache, options.keys));
    if (backing != nullptr) disk->set_backing(std::move(backing));
  }
  CO_TRY_VOID((co_await qcow2::resize(disk->parts(),
                                      {.size_bytes = size, .preallocation = options.preallocation}))
                  .with_context(options.path));
  CO_TRY_VOID(co_await disk->close());
  co_return size;
}

}  // namespace

Task<Result<uint64_t>> resize_image(IoEngine& engine, ResizeImageOptions options) {
  {
    const LockRequest lock{.write = true, .resize = true};
    CO_TRY(const std::unique_ptr<LocalFile> file,
           LocalFile::open(engine, options.path, {.cache = options.cache, .lock = lock}));
    DiskFormat format = options.format.value_or(DiskFormat::kRaw);
    if (!options.format) {
      CO_TRY(format, co_await probe_format(*file));
    }
    if (format == DiskFormat::kRaw) co_return co_await resize_raw(*file, options);
  }
  co_return co_await resize_qcow2(engine, options);
}

}  // namespace hull::blockcore
