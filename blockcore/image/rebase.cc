#include "blockcore/image/rebase.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "blockcore/backing_name.h"
#include "blockcore/engine/iovecs.h"
#include "blockcore/image/backing_chain.h"
#include "blockcore/image/single_image.h"
#include "blockcore/qcow2/parts.h"

namespace hull::blockcore {
namespace {

using Buffer = std::unique_ptr<std::byte[]>;

// What lies past the end of the disk is zeros.
Task<Result<void>> read_padded(Disk& disk, uint64_t offset, std::span<std::byte> data) {
  const uint64_t end = std::max(offset, std::min(disk.size_bytes(), offset + data.size()));
  const iovec buffer{data.data(), end - offset};
  if (buffer.iov_len != 0) CO_TRY_VOID(co_await disk.read(offset, {&buffer, 1}));
  std::ranges::fill(data.subspan(buffer.iov_len), std::byte{});
  co_return {};
}

class Puller final : public ChunkWork {
 public:
  Puller(Qcow2Disk& overlay, Disk* other)
      : overlay_(overlay),
        other_(other),
        old_bytes_(overlay.parts().image.backing_bytes()),
        granule_(overlay.parts().image.geometry.granule_bytes()) {}

  Task<Result<void>> run(uint64_t offset, uint64_t length) override {
    for (const uint64_t end = offset + length; offset < end;) {
      CO_TRY(const BlockStatus status, co_await overlay_.block_status(offset, end - offset));
      const bool own = status.present && status.depth == 0;
      const bool nothing = other_ == nullptr && status.zero;
      if (!own && !nothing) CO_TRY_VOID(co_await pull(offset, status.length));
      offset += status.length;
    }
    co_return {};
  }

 private:
  Task<Result<void>> pull(uint64_t offset, uint64_t length) {
    const Buffer old_memory = std::make_unique_for_overwrite<std::byte[]>(length);
    const std::span<std::byte> now{old_memory.get(), length};
    CO_TRY_VOID(co_await read_padded(overlay_, offset, now));
    const Buffer new_memory = std::make_unique<std::byte[]>(length);
    const std::span<std::byte> then{new_memory.get(), length};
    if (other_ != nullptr) CO_TRY_VOID(co_await read_padded(*other_, offset, then));
    for (uint64_t at = 0; at < length;) {
      const uint64_t same = run_of(now, then, at, /*equal=*/true);
      at += same;
      const uint64_t different = run_of(now, then, at, /*equal=*/false);
      if (different != 0) CO_TRY_VOID(co_await keep(offset + at, now.subspan(at, different)));
      at += different;
    }
    co_return {};
  }

  // Whole granules from `at` on that are alike, or that are not.
  uint64_t run_of(std::span<const std::byte> a, std::span<const std::byte> b, uint64_t at,
                  bool equal) const {
    const uint64_t first = at;
    while (at < a.size()) {
      const uint64_t count = std::min(granule_, a.size() - at);
      if ((std::memcmp(a.data() + at, b.data() + at, count) == 0) != equal) break;
      at += count;
    }
    return at - first;
  }

  Task<Result<void>> keep(uint64_t offset, std::span<std::byte> data) {
    // Past the end of the old backing disk the image does not know that zeros need an entry.
    if (is_zero(data) && offset + data.size() <= old_bytes_)
      co_return co_await overlay_.write_zeroes(offset, data.size(), /*may_unmap=*/true);
    const iovec buffer{data.data(), data.size()};
    co_return co_await overlay_.write(offset, {&buffer, 1});
  }

  Qcow2Disk& overlay_;
  Disk* const other_;
  const uint64_t old_bytes_;
  const uint64_t granule_;
};

Result<void> check_backing(const RebaseOptions& options) {
  if (options.backing_name.empty()) return {};
  if (options.backing_format.empty())
    return fail(ErrorKind::kUsage,
                "Could not change the backing file to '{}': backing format must be specified",
                options.backing_name);
  if (auto format = format_of_name(options.path, options.backing_format); !format)
    return fail(ErrorKind::kUsage, "Invalid format name: '{}'", options.backing_format);
  return {};
}

Task<Result<std::unique_ptr<Disk>>> open_new_backing(IoEngine& engine,
                                                     const RebaseOptions& options) {
  if (options.backing_name.empty()) co_return nullptr;
  OpenOptions open;
  open.cache = options.backing_cache;
  open.read_only = true;
  CO_TRY(open.path, resolve_backing_name(options.path, options.backing_name));
  CO_TRY(open.format, format_of_name(open.path, options.backing_format));
  co_return co_await open_disk(engine, std::move(open));
}

Task<Result<void>> pull_from_chain(IoEngine& engine, Qcow2Disk& overlay,
                                   const RebaseOptions& options) {
  CO_TRY(std::unique_ptr<Disk> old_backing,
         co_await open_backing(engine, overlay, options.backing_cache, options.keys));
  CO_TRY(const std::unique_ptr<Disk> new_backing, co_await open_new_backing(engine, options));
  if (old_backing != nullptr) overlay.set_backing(std::move(old_backing));
  CO_TRY_VOID(co_await pull_differences(overlay, new_backing.get(), options.progress));
  if (new_backing != nullptr) CO_TRY_VOID(co_await new_backing->close());
  co_return {};
}

}  // namespace

Task<Result<void>> pull_differences(Qcow2Disk& overlay, Disk* other,
                                    const ProgressReport& progress) {
  Puller puller(overlay, other);
  CO_TRY_VOID(co_await for_each_chunk(overlay.size_bytes(), puller, progress));
  co_return co_await overlay.flush();
}

Task<Result<void>> rebase_image(IoEngine& engine, RebaseOptions options) {
  CO_TRY_VOID(check_backing(options));
  SingleImageOptions single{.path = options.path,
                            .format = options.format,
                            .cache = options.cache,
                            .key = key_of_level(options.keys, 0)};
  CO_TRY(const std::unique_ptr<Qcow2Disk> overlay,
         co_await open_single_qcow2(engine, std::move(single)));
  if (!options.backing_name.empty() && overlay->header().data_file_is_raw())
    co_return fail(
        ErrorKind::kInvalidConfig,
        "Could not change the backing file to '{}': Invalid argument: '{}' has a raw data "
        "file, which holds all that is read",
        options.backing_name, options.path);
  if (!options.unsafe) CO_TRY_VOID(co_await pull_from_chain(engine, *overlay, options));
  std::optional<std::string> format;
  if (!options.backing_name.empty()) format = options.backing_format;
  CO_TRY_VOID(co_await overlay->parts().image.header.set_backing(
      *overlay->parts().image.file, options.backing_name, std::move(format)));
  co_return co_await overlay->close();
}

}  // namespace hull::blockcore
